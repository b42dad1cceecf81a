"""The peers: the adapter of each, its environment, and remarks for the reader.

An environment is a virtual environment with the packages of pins/<environment>.txt, or a folder of Node packages with
those of pins/<environment>/package.json. Downloads of weights are not listed here; the benchmark tries them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the page.

    name: as the row is called. package: in its registry. environment: whose packages it uses; peers may share one.
    adapter: a file of adapters/; variant: what it is told. cold: the shortest program from a photo to its
    expressions, run in the environment's folder; {photo} stands for the file. note: what it was trained on, by its own
    documentation, and how it was asked.
    """

    name: str
    package: str
    environment: str
    licence: str
    adapter: str = ""
    variant: str = "-"
    cold: tuple[str, ...] = ()
    note: str = ""

    @property
    def node(self) -> bool:
        """Whether it runs under Node."""
        return self.adapter.endswith(".mjs")

    @property
    def ours(self) -> bool:
        """Whether it is mien."""
        return self.environment == "mien"


def _python(program: str) -> tuple[str, ...]:
    return ("bin/python", "-c", program)


_FER = "import cv2; from fer.fer import FER; print(FER({}).detect_emotions(cv2.imread('{{photo}}')))"
_HSEMOTION = "import cv2; {}; print({}.predict_emotions(cv2.imread('{{photo}}')[..., ::-1], logits=False))"
_FACE_API = """
const at = (path) => process.cwd() + '/node_modules/' + path;
require('@tensorflow/tfjs');
require('@tensorflow/tfjs-backend-wasm').setWasmPaths(at('@tensorflow/tfjs-backend-wasm/dist/'));
const faceapi = require('@vladmandic/face-api/dist/face-api.node-wasm.js');
(async () => {
  await faceapi.tf.setBackend('wasm');
  await faceapi.nets.ssdMobilenetv1.loadFromDisk(at('@vladmandic/face-api/model'));
  await faceapi.nets.faceExpressionNet.loadFromDisk(at('@vladmandic/face-api/model'));
  const { data, info } = await require('sharp')('{photo}').removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const image = faceapi.tf.tensor3d(new Int32Array(data), [info.height, info.width, 3], 'int32');
  console.log(JSON.stringify(await faceapi.detectAllFaces(image).withFaceExpressions()));
})();
"""
_HUMAN = """
const fs = require('fs');
const at = (path) => process.cwd() + '/node_modules/' + path;
globalThis.fetch = async (url) => new Response(fs.readFileSync(new URL(url)));
const { Human } = require(at('@vladmandic/human/dist/human.node-wasm.js'));
const off = { enabled: false };
const human = new Human({
  backend: 'wasm', wasmPath: at('@tensorflow/tfjs-backend-wasm/dist/'),
  modelBasePath: 'file://' + at('@vladmandic/human/models/'), body: off, hand: off, object: off, gesture: off,
  face: { detector: { maxDetected: 50 }, iris: off, description: off },
});
(async () => {
  const { data, info } = await require('sharp')('{photo}').removeAlpha().raw().toBuffer({ resolveWithObject: true });
  await human.init();
  const image = human.tf.tensor3d(new Int32Array(data), [info.height, info.width, 3], 'int32');
  console.log(JSON.stringify((await human.detect(image)).face.map((face) => face.emotion)));
})();
"""
_MINI_XCEPTION = (
    "Its network is mini-XCEPTION of face_classification, trained on FER2013; neither its page nor its code says which "
    "faces were held out, or chose the epoch."
)
_WASM = (
    "On WebAssembly, one thread: the native backend, @tensorflow/tfjs-node, downloads its library when installed, "
    "and from no registry (here: `getaddrinfo ENOTFOUND`)."
)


def mien_peer(model: str) -> Peer:
    """A shipped model of mien."""
    targets = "FER2013's labels" if model.endswith("-fer2013") else "FER+'s votes"
    return Peer(
        model,
        "mien",
        "mien",
        "MIT",
        "ask_mien.py",
        model,
        ("bin/mien", "predict", "{photo}", "--model", model),
        f"Trained on FER2013's Training faces with {targets}; PublicTest chose the epoch and the temperature.",
    )


PEERS = (
    Peer(
        "fer, tflite", "fer", "fer", "MIT", "ask_fer.py", "tflite", _python(_FER.format("")),
        f"Its default. {_MINI_XCEPTION} Crops: the whole crop, offsets 0. Pinned to setuptools 80 and OpenCV 4: "
        "without pins it gets newer ones, which lack pkg_resources and the cascade files that it needs. Its page's "
        "`from fer import FER` fails in this version; `from fer.fer import FER` works.",
    ),
    Peer(
        "fer, tflite, own offsets", "fer", "fer", "MIT", "ask_fer.py", "tflite-offsets", (),
        "The same with the package's default offsets of 10 pixels around the box that it is given.",
    ),
    Peer(
        "fer, keras", "fer", "fer", "MIT", "ask_fer.py", "keras", _python(_FER.format("use_tflite=False")),
        "The same network in Keras, in batches.",
    ),
    Peer(
        "face-api (Node, wasm)", "@vladmandic/face-api", "face-api", "MIT", "ask_face_api.mjs", "-",
        ("node", "-e", _FACE_API),
        f"Says: trained on public data sets and images from the web. {_WASM}",
    ),
    Peer(
        "human (Node, wasm)", "@vladmandic/human", "human", "MIT", "ask_human.mjs", "-",
        ("node", "-e", _HUMAN),
        f"Its network comes from face_classification, as `fer`'s; which faces were held out isn't said. {_WASM}",
    ),
    Peer(
        "deepface", "deepface", "deepface", "MIT", "ask_deepface.py", "-",
        _python(
            "from deepface import DeepFace; print(DeepFace.analyze('{photo}', actions=['emotion'], "
            "enforce_detection=False))"
        ),
        "With werkzeug, which it imports and doesn't ask for.",
    ),
    Peer(
        "hsemotion-onnx", "hsemotion-onnx", "hsemotion-onnx", "Apache-2.0", "ask_hsemotion_onnx.py", "-",
        _python(
            _HSEMOTION.format(
                "import urllib.request; from hsemotion_onnx.facial_emotions import HSEmotionRecognizer as R", "R()"
            )
        ),
        "With `import urllib.request` before it, which it forgets.",
    ),
    Peer(
        "emotiefflib", "emotiefflib", "emotiefflib", "Apache-2.0", "ask_emotiefflib.py", "-",
        _python(
            _HSEMOTION.format("from emotiefflib.facial_analysis import EmotiEffLibRecognizer as R", "R(engine='onnx')")
        ),
    ),
    Peer(
        "py-feat", "py-feat", "with-torch", "MIT; weights non-commercial", "ask_py_feat.py", "-",
        _python("from feat import Detectorv2; print(Detectorv2(identity_model=None).detect('{photo}').emotions)"),
    ),
    Peer(
        "rmn", "rmn", "with-torch", "MIT", "ask_rmn.py", "-",
        _python("import cv2, rmn; print(rmn.RMN().detect_emotion_for_single_frame(cv2.imread('{photo}')))"),
    ),
    Peer(
        "uniface", "uniface", "with-torch", "MIT", "ask_uniface.py", "-",
        _python(
            "import cv2; from uniface import Emotion, RetinaFace; image = cv2.imread('{photo}'); "
            "emotion = Emotion(); print([emotion.predict(image, f) for f in RetinaFace().detect(image)])"
        ),
    ),
)  # fmt: skip
