"""Published data sets and images with telling names, also with strays, in capitals, zipped, and a folder deeper."""

import io
import zipfile
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from mien.data.readers import open_dataset, open_source
from mien.data.reading.reading import make_choices
from mien.errors import DataError
from mien.labels import EIGHT, FER2013


def image(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def npy(value):
    buffer = io.BytesIO()
    np.save(buffer, np.array(value))
    return buffer.getvalue()


@dataclass(frozen=True)
class Case:
    """A tiny data set: images, other files, and what is read: image -> (split, label). Problems: the others' names."""

    layout: str
    images: tuple[str, ...]
    expected: dict
    files: dict = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    identity: dict = field(default_factory=dict)


def numbered(names, split=""):
    return {name: (split, label) for name, label in names.items()}


KDEF = {"AF": "fear", "AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
TWO = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
AFFECTNET_HEADER = b"subDirectory_filePath,face_x,face_y,face_width,face_height,expression,valence,arousal\n"
VOICES = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
RAF = dict(zip("1234567", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), strict=True))


def kdef():
    people = [("AF01", "AF01"), ("BF01", "AF01"), ("AM02", "AM02")]
    read = {f"{p}/{p}{code}{angle}.JPG": (name, who) for p, who in people for code, name in KDEF.items()
            for angle in ("S", "HL")}  # fmt: skip
    return Case("KDEF", tuple(read), {n: ("", v) for n, (v, _) in read.items()},
                identity={n: who for n, (_, who) in read.items()})  # fmt: skip


def raf_lines(labels):
    return "".join(f"{name} {label}\n" for name, label in labels.items()).encode()


def ferplus_line(name, *votes, box="(0, 0, 48, 48)"):
    return f'{name},"{box}",{",".join(map(str, votes))}\n'


CASES = {
    "raf-db": Case(
        "RAF-DB",
        ("basic/Image/aligned/train_00001_aligned.jpg", "basic/Image/original/train_00001.jpg",
         "basic/Image/original/test_0002.jpg"),
        {"basic/Image/aligned/train_00001_aligned.jpg": ("train", "sad"),
         "basic/Image/original/test_0002.jpg": ("test", "surprise")},
        {"basic/EmoLabel/list_patition_label.txt": raf_lines(
            {"train_00001.jpg": 5, "test_0002.jpg": 1, "train_3.jpg": 7, "other_4.jpg": 1})},
        wrong=("basic/EmoLabel/list_patition_label.txt:3", "basic/EmoLabel/list_patition_label.txt:4",
               "basic/Image/original/train_00001.jpg"),
    ),
    "raf-folders": Case(
        "RAF-DB in class folders",
        tuple(f"DATASET/{s}/{n}/{s}_0000{n}_aligned.jpg" for s in ("train", "test") for n in RAF),
        {f"DATASET/{s}/{n}/{s}_0000{n}_aligned.jpg": (s, RAF[n]) for s in ("train", "test") for n in RAF},
        {f"{s}_labels.csv": ("image,label\n" + "".join(f"{s}_0000{n}_aligned.jpg,{n}\n" for n in RAF)).encode()
         for s in ("train", "test")},
    ),
    "affectnet": Case(
        "AffectNet",
        (*(f"train_set/images/{n}.jpg" for n in range(4)), "val_set/images/9.jpg"),
        {"train_set/images/0.jpg": ("train", "angry"), "train_set/images/1.jpg": ("train", "contempt"),
         "val_set/images/9.jpg": ("validation", "neutral")},
        {"train_set/annotations/0_exp.npy": npy("6"), "train_set/annotations/0_val.npy": npy("-0.5"),
         "train_set/annotations/1_exp.npy": npy(7), "train_set/annotations/2_exp.npy": npy("8"),
         "val_set/annotations/9_exp.npy": npy(0.0)},
        wrong=("train_set/images/2.jpg", "train_set/images/3.jpg"),
    ),
    "affectnet-lists": Case(
        "AffectNet with lists",
        ("Manually_Annotated_Images/1/a.png", "Manually_Annotated_Images/1/b.png", "Manually_Annotated_Images/2/c.png"),
        {"Manually_Annotated_Images/1/a.png": ("train", "fear"),
         "Manually_Annotated_Images/2/c.png": ("validation", "happy")},
        {"lists/training.csv": AFFECTNET_HEADER + b"1/a.png,1,2,5,6,4,-0.5,0.5\n"
         b"1/b.png,1,2,5,6,10,-2,-2\n1/lost.png,1,2,5,6,1,0,0\n",
         "lists/validation.csv": AFFECTNET_HEADER + b"2/c.png,1,2,5,6,1,-2,-2\n"},
        wrong=("Manually_Annotated_Images/1/b.png", "lists/training.csv:4"),
    ),
    "expw": Case(
        "ExpW",
        ("image/a.jpg", "image/b.jpg"),
        {"image/a.jpg": ("", "happy"), "image/b.jpg#1": ("", "angry"), "image/b.jpg#2": ("", "neutral")},
        {"label.lst": b"a.jpg 0 1 2 9 8 49.1 3\nb.jpg 0 1 2 9 8 47.0 0\nb.jpg 1 0 0 5 5 30.5 6\n"
                      b"lost.jpg 0 1 2 9 8 3 1\n"},
        wrong=("label.lst:4",),
    ),
    "fer+": Case(
        "FER+ images",
        ("data/FER2013Train/fer01.png", "data/FER2013Train/fer02.png", "data/FER2013Train/fer03.png",
         "data/FER2013Valid/fer04.png", "data/FER2013Test/fer05.png"),
        {"data/FER2013Train/fer01.png": ("train", "neutral"), "data/FER2013Valid/fer04.png": ("validation", "sad"),
         "data/FER2013Test/fer05.png": ("test", "contempt")},
        {"data/FER2013Train/label.csv": (
            ferplus_line("fer01.png", 9, 0, 0, 0, 0, 0, 0, 0, 1, 0) + ferplus_line("fer02.png", 4, 4, *[0] * 6, 2, 0)
            + ferplus_line("fer03.png", 1, *[0] * 8, 9) + ferplus_line("fer09.png", 9, *[0] * 9)).encode(),
         "data/FER2013Valid/label.csv": ferplus_line("fer04.png", 0, 0, 0, 9, 0, 0, 0, 0, 1, 0).encode(),
         "data/FER2013Test/label.csv": ferplus_line("fer05.png", 0, 0, 0, 2, 0, 0, 0, 8, 0, 0).encode()},
        wrong=("data/FER2013Train/fer02.png", "data/FER2013Train/fer03.png", "data/FER2013Train/label.csv:4"),
    ),
    "fer+ new": Case(
        "FER+ images",
        ("images/FER2013Train/fer0000000.png", "images/FER2013Test/fer0000002.png"),
        {"images/FER2013Train/fer0000000.png": ("train", "happy"),
         "images/FER2013Test/fer0000002.png": ("test", "fear")},
        {"fer2013new.csv": b"Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,"
                           b"NF\n"
                           b"Training,fer0000000.png,1,9,0,0,0,0,0,0,0,0\nTraining,,0,0,0,0,0,0,0,0,0,10\n"
                           b"PrivateTest,fer0000002.png,1,0,0,0,0,0,9,0,0,0\n"},
        wrong=("fer2013new.csv:3",),
    ),
    "aff-wild2": Case(
        "Aff-Wild2",
        ("frames/103/00001.jpg", "frames/103/00003.jpg", "frames/v_left/00001.jpg", "frames/v_left/00009.jpg"),
        {"frames/103/00003.jpg": ("train", "happy"), "frames/v_left/00001.jpg": ("validation", "neutral")},
        {"EXPR/Train_Set/103.txt": b"Neutral,Anger,Happiness,Other\n-1\n0\n2\n",
         "EXPR/Validation_Set/v_left.txt": b"Neutral,Anger,Happiness,Other\n0\n1\n",
         "VA/Train_Set/103.txt": b"valence,arousal\n0.1,0.2\n"},
        wrong=("frames/103/00001.jpg", "frames/v_left/00009.jpg", "VA/Train_Set/103.txt"),
        identity={"frames/103/00003.jpg": "103", "frames/v_left/00001.jpg": "v_left"},
    ),
    "ck+": Case(
        "CK+",
        ("cohn-kanade-images/S005/001/S005_001_00000001.png", "cohn-kanade-images/S005/001/S005_001_00000011.png",
         "cohn-kanade-images/S010/002/S010_002_00000014.png", "cohn-kanade-images/S011/001/S011_001_00000001.png"),
        {"cohn-kanade-images/S005/001/S005_001_00000011.png": ("", "disgust"),
         "cohn-kanade-images/S010/002/S010_002_00000014.png": ("", "surprise")},
        {"Emotion/S005/001/S005_001_00000011_emotion.txt": b"   3.0000000e+00\n",
         "Emotion/S010/002/S010_002_00000014_emotion.txt": b"   7.0000000e+00\n",
         "Emotion/S099/001/S099_001_00000011_emotion.txt": b"   7.0000000e+00\n"},
        wrong=("cohn-kanade-images/S005/001/S005_001_00000001.png", "cohn-kanade-images/S011/001/S011_001_00000001.png",
               "Emotion/S099/001/S099_001_00000011_emotion.txt"),
        identity={"cohn-kanade-images/S005/001/S005_001_00000011.png": "S005",
                  "cohn-kanade-images/S010/002/S010_002_00000014.png": "S010"},
    ),
    "ck+48": Case(
        "CK+48",
        ("CK+48/anger/S010_004_00000017.png", "CK+48/anger/S010_004_00000018.png",
         "CK+48/contempt/S138_008_00000007.png"),
        {"CK+48/anger/S010_004_00000017.png": ("", "angry"), "CK+48/anger/S010_004_00000018.png": ("", "angry"),
         "CK+48/contempt/S138_008_00000007.png": ("", "contempt")},
        identity={"CK+48/anger/S010_004_00000017.png": "S010", "CK+48/anger/S010_004_00000018.png": "S010",
                  "CK+48/contempt/S138_008_00000007.png": "S138"},
    ),
    "sfew": Case(
        "class folders with splits",
        ("Train/Train_Aligned_Faces/Angry/a.png", "Train/Train_Aligned_Faces/Happy/b.png",
         "Val/Val_Aligned_Faces_new/Angry/c.png"),
        {"Train/Train_Aligned_Faces/Angry/a.png": ("train", "angry"),
         "Train/Train_Aligned_Faces/Happy/b.png": ("train", "happy"),
         "Val/Val_Aligned_Faces_new/Angry/c.png": ("validation", "angry")},
        {"Train/Happy/0001.avi": b"RIFF\0\0\0\0AVI "}, wrong=("Train/Happy/0001.avi",),
    ),
    "kdef": kdef(),
    "kdef-in-classes": Case(
        "KDEF in class folders",
        tuple(f"{s}/{KDEF[c]}/{p}{c}S.JPG" for s, p in (("train", "AF01"), ("test", "BM03")) for c in ("AN", "HA")),
        {f"{s}/{KDEF[c]}/{p}{c}S.JPG": (s, KDEF[c])
         for s, p in (("train", "AF01"), ("test", "BM03")) for c in ("AN", "HA")},
        identity={f"{s}/{KDEF[c]}/{p}{c}S.JPG": "A" + p[1:]
                  for s, p in (("train", "AF01"), ("test", "BM03")) for c in ("AN", "HA")},
    ),
    "jaffe": Case(
        "JAFFE",
        tuple(f"{p}.{c}1.{i}.tiff" for p in ("KA", "KL") for i, c in enumerate(TWO)),
        {f"{p}.{c}1.{i}.tiff": ("", TWO[c]) for p in ("KA", "KL") for i, c in enumerate(TWO)},
        identity={f"{p}.{c}1.{i}.tiff": p for p in ("KA", "KL") for i, c in enumerate(TWO)},
    ),
    "ravdess": Case(
        "RAVDESS",
        tuple(f"Actor_{a}/01-01-{i:02}-01-01-01-{a}_frame12.png" for a in ("01", "12") for i in range(1, 9)),
        {f"Actor_{a}/01-01-{i:02}-01-01-01-{a}_frame12.png": ("", VOICES[i - 1])
         for a in ("01", "12") for i in range(1, 9)},
        identity={f"Actor_{a}/01-01-{i:02}-01-01-01-{a}_frame12.png": a for a in ("01", "12") for i in range(1, 9)},
    ),
    "ravdess-frames": Case(
        "RAVDESS",
        tuple(f"02-01-{i:02}-01-01-01-07/{k}.png" for i in (3, 5) for k in (1, 2)),
        {f"02-01-{i:02}-01-01-01-07/{k}.png": ("", VOICES[i - 1]) for i in (3, 5) for k in (1, 2)},
        identity={f"02-01-{i:02}-01-01-01-07/{k}.png": "07" for i in (3, 5) for k in (1, 2)},
    ),
    "crema-d": Case(
        "CREMA-D",
        ("1001_DFA_ANG_XX.png", "1001_IEO_HAP_HI_0003.png", "1002_DFA_SAD_XX_frame_1.png"),
        {"1001_DFA_ANG_XX.png": ("", "angry"), "1001_IEO_HAP_HI_0003.png": ("", "happy"),
         "1002_DFA_SAD_XX_frame_1.png": ("", "sad")},
        identity={"1001_DFA_ANG_XX.png": "1001", "1001_IEO_HAP_HI_0003.png": "1001",
                  "1002_DFA_SAD_XX_frame_1.png": "1002"},
    ),
    "rafd": Case(
        "RaFD",
        ("Rafd090_01_Caucasian_female_angry_frontal.jpg", "Rafd045_28_Moroccan_male_contemptuous_left.jpg"),
        {"Rafd090_01_Caucasian_female_angry_frontal.jpg": ("", "angry"),
         "Rafd045_28_Moroccan_male_contemptuous_left.jpg": ("", "contempt")},
        identity={"Rafd090_01_Caucasian_female_angry_frontal.jpg": "01",
                  "Rafd045_28_Moroccan_male_contemptuous_left.jpg": "28"},
    ),
    "nimstim": Case("NimStim", ("01F_AN_C.BMP", "01F_SP_O.BMP", "20M_CA_C.BMP"),
                    {"01F_AN_C.BMP": ("", "angry"), "01F_SP_O.BMP": ("", "surprise"), "20M_CA_C.BMP": ("", "calm")}),
    "faces": Case("FACES", ("004_o_m_a_a.jpg", "066_y_m_h_b.jpg"),
                  {"004_o_m_a_a.jpg": ("", "angry"), "066_y_m_h_b.jpg": ("", "happy")}),
    "cfd": Case("Chicago Face Database", ("WM-001/CFD-WM-001-014-HO.jpg", "AF-200/CFD-AF-200-228-N.jpg"),
                {"WM-001/CFD-WM-001-014-HO.jpg": ("", "happy"), "AF-200/CFD-AF-200-228-N.jpg": ("", "neutral")}),
    "bu-3dfe": Case("BU-3DFE", ("F0001/F0001_AN01WH_F2D.bmp", "M0002/M0002_SU04AE_F2D.bmp"),
                    {"F0001/F0001_AN01WH_F2D.bmp": ("", "angry"), "M0002/M0002_SU04AE_F2D.bmp": ("", "surprise")}),
    "yale": Case("Yale faces", ("subject01.happy", "subject01.normal.gif", "subject02.glasses.gif"),
                 {"subject01.happy": ("", "happy"), "subject01.normal.gif": ("", "neutral")},
                 wrong=("subject02.glasses.gif",)),
    "words": Case(
        "images named after expressions",
        ("happy_001.png", "angry (3).jpg", "img_Sadness-7.png", "Fear_Face02.png"),
        {"happy_001.png": ("", "happy"), "angry (3).jpg": ("", "angry"), "img_Sadness-7.png": ("", "sad"),
         "Fear_Face02.png": ("", "fear")},
    ),
    "words-and-splits": Case(
        "images named after expressions",
        ("train_happy_1.png", "train_sad_1.png", "test_sad_2.png"),
        {"train_happy_1.png": ("train", "happy"),
         "train_sad_1.png": ("train", "sad"), "test_sad_2.png": ("test", "sad")},
    ),
    "words-in-people": Case(
        "images named after expressions",
        tuple(f"images/{p}/{e}.jpg" for p in "012" for e in ("Anger", "Happy", "Neutral")),
        {f"images/{p}/{e}.jpg": ("", n) for p in "012"
         for e, n in (("Anger", "angry"), ("Happy", "happy"), ("Neutral", "neutral"))},
        identity={f"images/{p}/{e}.jpg": p for p in "012" for e in ("Anger", "Happy", "Neutral")},
    ),
}  # fmt: skip


def write(root, case, rename=str):
    for i, name in enumerate(case.images):
        path = root / rename(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(i))
    for name, data in case.files.items():
        path = root / rename(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read(path, **choices):
    """What is read, image -> (split, label), the problems, and the data set."""
    problems = {}
    source = open_source(path, choices=make_choices(**choices) if choices else None)
    found, people = {}, {}
    for chunk in source.chunks():
        problems |= {p.source: p.reason for p in chunk.problems}
        for i, name in enumerate(chunk.columns["source"]):
            label = chunk.columns["label"][i]
            found[name] = (chunk.columns["split"][i], source.label_names[label] if label >= 0 else "")
            people[name] = chunk.columns["identity"][i] if "identity" in chunk.columns else ""
    return source, found, people, problems


def lower(names):
    return {name.lower(): value for name, value in names.items()}


every = pytest.mark.parametrize("name", CASES)


@every
def test_is_read_as_published(tmp_path, name):
    case = CASES[name]
    write(tmp_path, case)
    source, found, people, problems = read(tmp_path)
    assert source.kind == case.layout
    assert found == case.expected
    assert sorted(problems) == sorted(case.wrong)
    assert not case.identity or people == case.identity
    assert source.fingerprint == open_source(tmp_path).fingerprint


@every
def test_strays_change_nothing(tmp_path, name):
    case = CASES[name]
    write(tmp_path, case)
    (tmp_path / "README.txt").write_text("Some words, for example.\nMore words, and more.\n")
    (tmp_path / "zz_stray.png").write_bytes(image(99))
    source, found, _, problems = read(tmp_path)
    assert (source.kind, found) == (case.layout, case.expected)
    assert sorted(problems) == sorted((*case.wrong, "README.txt", "zz_stray.png"))
    assert all(problems.values())


@every
def test_capitals_a_zip_and_a_folder_more_change_nothing(tmp_path, name):
    case = CASES[name]
    write(tmp_path / "plain/Data Set", case)
    deeper = read(tmp_path / "plain")
    assert (deeper[0].kind, deeper[1]) == (case.layout, {f"Data Set/{n}": v for n, v in case.expected.items()})
    write(tmp_path / "capitals", case, str.upper)
    capitals = read(tmp_path / "capitals")
    assert (capitals[0].kind, lower(capitals[1])) == (case.layout, lower(case.expected))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in (tmp_path / "plain").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "plain"))
    zipped = read(tmp_path / "set.zip")
    assert (zipped[0].kind, zipped[1]) == (case.layout, deeper[1])
    assert len(zipped[3]) == len(case.wrong)


# What each of them says and refuses


def put(root, name, data):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def data_of(root):
    return open_dataset(root)


def raf_folders(root, labels, extra=()):
    for i, n in enumerate(labels, start=1):
        put(root, f"train/{n}/train_{i:05}_aligned.jpg", image(i))
    for name in extra:
        put(root, name, image())


def test_raf_folders_are_told_by_most_names(tmp_path):
    raf_folders(tmp_path, "1234567", ["train/7/zebra.jpg"])
    source, found, _, _ = read(tmp_path)
    assert source.label_names == FER2013
    assert found["train/7/zebra.jpg"] == ("train", "neutral")


def test_folders_1_to_7_of_other_images_stay_numbers(tmp_path):
    for n in "1234567":
        put(tmp_path, f"train/{n}/a{n}.jpg", image(int(n)))
    put(tmp_path, "train/7/train_00001_aligned.jpg", image())
    assert open_source(tmp_path).label_names == tuple("1234567")


def test_a_list_that_contradicts_one_raf_folder_costs_that_image(tmp_path):
    raf_folders(tmp_path, "1234567")
    lines = [f"train_{i:05}_aligned.jpg,{4 if i == 3 else i}" for i in range(1, 8)]
    put(tmp_path, "train_labels.csv", "\n".join(["image,label", *lines, "train_09999_aligned.jpg,4"]))
    _, found, _, problems = read(tmp_path)
    assert len(found) == 6
    assert "folder 3, and train_labels.csv:4 says 4" in problems["train/3/train_00003_aligned.jpg"]
    assert "in no class folder" in problems["train_labels.csv:9"]


def test_a_list_that_contradicts_most_raf_folders_is_refused(tmp_path):
    raf_folders(tmp_path, "1234567")
    lines = [f"train_{i:05}_aligned.jpg,{i % 7 + 1}" for i in range(1, 8)]
    put(tmp_path, "train_labels.csv", "\n".join(["image,label", *lines]))
    with pytest.raises(DataError, match=r"contradicts the class folders on 7 of 7 images"):
        open_source(tmp_path)


def test_raf_compound_labels_are_refused_but_with_names_for_them(tmp_path):
    for n in (1, 2):
        put(tmp_path, f"Image/aligned/train_000{n}_aligned.jpg", image(n))
    put(tmp_path, "EmoLabel/list_patition_label.txt", "train_0001.jpg 11\ntrain_0002.jpg 11\n")
    with pytest.raises(DataError, match="compound expressions"):
        open_source(tmp_path)
    _, found, _, _ = read(tmp_path, labels="11=disgustedly surprised")
    assert list(found.values()) == [("train", "disgustedly surprised")] * 2


def test_a_raf_image_with_two_labels_is_not_used(tmp_path):
    for n in (1, 2):
        put(tmp_path, f"Image/aligned/train_0000{n}_aligned.jpg", image(n))
    put(
        tmp_path,
        "EmoLabel/list_patition_label.txt",
        "train_00001.jpg 1\ntrain_00001.jpg 2\n" + "train_00002.jpg 4\n" * 2,
    )
    source, found, _, problems = read(tmp_path)
    assert list(found.values()) == [("train", "happy")]
    assert problems == {"Image/aligned/train_00001_aligned.jpg": "has the labels '1' and '2'"}
    assert "1 lines name an image again, with the same label" in source.reading.notes


def test_affectnet_keeps_valence_arousal_and_boxes(tmp_path):
    write(tmp_path, CASES["affectnet-lists"])
    data = data_of(tmp_path)
    np.testing.assert_array_equal(data.columns["valence"], np.float32([-0.5, np.nan]))
    np.testing.assert_array_equal(data.columns["box"], np.float32([[1, 2, 6, 8]] * 2))
    assert data.label_names == open_source(tmp_path).label_names
    assert "label is 10 (no face)" in read(tmp_path)[3]["Manually_Annotated_Images/1/b.png"]


def test_affectnet_annotations_are_never_unpickled(tmp_path):
    write(tmp_path, CASES["affectnet"])
    np.save(tmp_path / "train_set/annotations/3_exp.npy", np.array([object()]), allow_pickle=True)
    problems = read(tmp_path)[3]
    assert "no readable annotation" in problems["train_set/images/3.jpg"]
    assert "train_set/annotations/3_exp.npy" not in problems
    np.testing.assert_array_equal(data_of(tmp_path).columns["valence"], np.float32([-0.5, np.nan, np.nan]))


def test_a_changed_affectnet_annotation_changes_the_fingerprint(tmp_path):
    write(tmp_path, CASES["affectnet"])
    before = open_source(tmp_path).fingerprint
    put(tmp_path, "train_set/annotations/0_exp.npy", npy(3))
    assert open_source(tmp_path).fingerprint != before


def test_a_list_of_affectnet_or_expw_given_alone_keeps_its_order(tmp_path):
    put(tmp_path, "1/a.png", image())
    put(tmp_path, "training.csv", "subDirectory_filePath,expression\n1/a.png,0\n")
    put(tmp_path, "label.lst", "a.png 0 1 1 9 9 40.0 0\n")
    assert read(tmp_path / "training.csv")[1] == {"1/a.png": ("train", "neutral")}
    assert read(tmp_path / "training.csv", root=tmp_path)[1] == {"1/a.png": ("train", "neutral")}
    assert read(tmp_path / "label.lst")[1] == {"1/a.png": ("", "angry")}


def test_expw_boxes_are_left_top_right_bottom(tmp_path):
    write(tmp_path, CASES["expw"])
    data = data_of(tmp_path)
    np.testing.assert_array_equal(data.columns["box"][0], np.float32([2, 1, 9, 8]))
    assert data.shapes.tolist() == [[12, 12, 1], [7, 7, 1], [5, 5, 1]]


def test_expw_lines_that_are_broken_are_told(tmp_path):
    put(tmp_path, "image/a.jpg", image())
    put(tmp_path, "label.lst", "a.jpg 0 1 2 9 8 49.1 3\na.jpg 0 1 2\na.jpg 0 1 2 9 8 49.1 7\n")
    _, found, _, problems = read(tmp_path)
    assert list(found.values()) == [("", "happy")]
    assert "expected name, face, top, left" in problems["label.lst:2"]
    assert "label '7'; expected 0 to 6" in problems["image/a.jpg#2"]


def test_ferplus_keeps_all_votes(tmp_path):
    write(tmp_path, CASES["fer+"])
    data = data_of(tmp_path)
    assert data.label_names == EIGHT
    assert data.votes.shape == (3, 8)
    assert data.votes[:, EIGHT.index("sad")].tolist() == [2, 0, 9]
    assert data.columns["ferplus_other"].shape == (3, 2)
    problems = read(tmp_path)[3]
    assert problems["data/FER2013Train/fer02.png"] == "no label: votes for neutral 4, happy 4, unknown 2"
    assert problems["data/FER2013Train/fer03.png"] == "no label: votes for not a face 9, neutral 1"


def test_ck_refuses_no_sequence_in_silence(tmp_path):
    write(tmp_path, CASES["ck+"])
    source, _, _, problems = read(tmp_path)
    assert "left out: 1 other frames of sequences with a label, 1 without one" in " ".join(source.reading.notes)
    assert "no label" in problems["cohn-kanade-images/S011/001/S011_001_00000001.png"]


def test_clips_are_refused_in_one_line(tmp_path):
    put(tmp_path, "Train/Happy/1.AVI", b"RIFF")
    with pytest.raises(DataError, match=r"holds 1 videos \(Train/Happy/1.AVI\) and no images") as caught:
        open_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_affectnets_numbered_class_folders_stay_numbers_in_their_splits(tmp_path):
    for name in ("train_class/class001/1.jpg", "train_class/class002/2.jpg", "valid_class/class001/3.jpg"):
        put(tmp_path, name, image())
    source, found, _, _ = read(tmp_path)
    assert source.label_names == ("class001", "class002")
    assert found["valid_class/class001/3.jpg"] == ("validation", "class001")


def test_names_that_contradict_their_class_folder_are_noted(tmp_path):
    for name in ("angry/AF01ANS.JPG", "angry/AF02ANS.JPG", "happy/AF01HAS.JPG", "happy/AF02SAS.JPG"):
        put(tmp_path, name, image())
    source, found, people, _ = read(tmp_path)
    assert found["happy/AF02SAS.JPG"] == ("", "happy")
    assert people["happy/AF02SAS.JPG"] == "AF02"
    assert "1 images are named after another expression" in " ".join(source.reading.notes)


def test_the_user_renames_what_names_say(tmp_path):
    write(tmp_path, CASES["jaffe"])
    source, found, _, _ = read(tmp_path, labels="angry=mad")
    assert "mad" in source.label_names
    assert found["KA.AN1.0.tiff"] == ("", "mad")


def test_images_of_few_telling_names_stay_unlabelled(tmp_path):
    for name in ("happy birthday.png", "IMG_1.png", "IMG_2.png", "sad and happy.png"):
        put(tmp_path, name, image())
    assert open_source(tmp_path).label_names == ()


def test_expressions_are_words_of_camel_case_too(tmp_path):
    for name in ("HappyFace01.png", "SadFace01.png"):
        put(tmp_path, name, image())
    assert sorted(read(tmp_path)[1].values()) == [("", "happy"), ("", "sad")]


NAMES = {
    "KDEF, cropped": {"af01ans_crop.jpg": "angry", "AM02HAHL-face0.jpg": "happy", "BF03AFS_aligned.jpg": "fear"},
    "JAFFE, other separators": {"KA_AN1_39.png": "angry", "KA-HA1-29.png": "happy", "YM.NE3.62.png": "neutral"},
    "ADFES": {"F01-Anger-Apex_4.png": "angry", "F01-Joy-Face Forward.png": "happy", "M02-Pride-Apex_1.png": "pride"},
    "Bosphorus": {"bs000_E_HAPPY_0.png": "happy", "bs001_E_ANGER_0.png": "angry", "bs001_N_N_0.png": "neutral"},
}


@pytest.mark.parametrize("scheme", NAMES)
def test_names_of_images_tell_their_class(tmp_path, scheme):
    for name in NAMES[scheme]:
        put(tmp_path, name, image())
    _, found, _, problems = read(tmp_path)
    assert {name: label for name, (_, label) in found.items()} == NAMES[scheme]
    assert not problems


def test_names_that_deny_or_join_expressions_are_problems(tmp_path):
    for name in ("happy_1.png", "sad_2.png", "angry_3.png", "happily_surprised_4.png"):
        put(tmp_path, name, image())
    assert list(read(tmp_path)[3]) == ["happily_surprised_4.png"]
    put(tmp_path / "other", "happy_1.png", image())
    put(tmp_path / "other", "not_happy_2.png", image())
    put(tmp_path / "other", "sad_3.png", image())
    assert list(read(tmp_path / "other")[3]) == ["not_happy_2.png"]


def test_folders_that_files_of_numbers_are_named_after_are_no_classes(tmp_path):
    for person in ("F001", "M002"):
        put(tmp_path, f"2D/{person}/1.jpg", image())
        put(tmp_path, f"AU/{person}_T1.csv", b"0,1,2\n1,0,1\n")
    source, found, _, problems = read(tmp_path)
    assert (source.kind, len(found), source.label_names) == ("loose images", 2, ())
    assert "folders such as F001 are no classes, as files such as AU/F001_T1.csv" in source.reading.notes[0]
    assert all(reason.startswith("holds no labels of a form") for reason in problems.values())
