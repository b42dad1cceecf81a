"""The networks of `benchmarks/training_keras.py` in Keras 3, trained with `model.fit` on arrays.

Runs in its own environment (`pip install tensorflow-cpu`); prints images/s of each epoch after the first as JSON.
The shapes are those of mien's rows of the same names; the number of parameters is printed and compared.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers


def cnn2(x):
    for width in (32, 64):
        x = layers.MaxPool2D()(layers.Conv2D(width, 3, padding="same", activation="relu")(x))
    return layers.Dense(128, activation="relu")(layers.Flatten()(x))


def cnn3_wide(x):
    for width, kernel in ((128, 9), (256, 6), (512, 3)):
        x = layers.MaxPool2D()(layers.Conv2D(width, kernel, activation="relu")(x))
        x = layers.Dropout(0.5)(x)
    return layers.Dense(64, activation="relu")(layers.Dense(128, activation="relu")(layers.Flatten()(x)))


def resnet18(x):
    def norm_relu(y):
        return layers.ReLU()(layers.BatchNormalization()(y))

    x = norm_relu(layers.Conv2D(64, 3, padding="same", use_bias=False)(x))
    for width in (64, 128, 256, 512):
        for stride in (2, 1):
            y = norm_relu(layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x))
            y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
            if stride > 1:
                x = layers.AveragePooling2D(2, padding="same")(x)
                x = layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(x))
            x = layers.ReLU()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling2D()(x)


class Epochs(keras.callbacks.Callback):
    def __init__(self, images):
        super().__init__()
        self.images, self.rates = images, []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.rates.append(self.images / (time.perf_counter() - self.started))


def main():
    name, side, batch, images, epochs = sys.argv[1], *map(int, sys.argv[2:6])
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (images, side, side, 1), np.uint8)
    labels = rng.integers(0, 7, images)
    entry = keras.Input((side, side, 1))
    body = {"cnn2": cnn2, "cnn3-wide": cnn3_wide, "resnet18": resnet18}[name]
    features = body(layers.Rescaling(1 / 63.75, offset=-2.0)(entry))
    model = keras.Model(entry, layers.Dense(7)(features))
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = Epochs(images)
    model.fit(faces, labels, batch_size=batch, epochs=epochs, verbose=0, callbacks=[watch])
    trained = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    print(json.dumps({"rates": watch.rates[1:], "parameters": trained, "keras": keras.__version__}))


main()
