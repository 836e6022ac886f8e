"""GPflow's own sparse regression, in an environment of its own: `python gpflow_worker.py DATA.npz`.

Reads the inputs from the file, then computes the loss and its gradient once for every line of standard input, and
answers each with a line of JSON: the loss, and the growth of peak resident memory since the model was made.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import gpflow
import numpy as np
import tensorflow as tf


def status_bytes(field: str) -> int:
    """A field of `/proc/self/status` in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def main(path: str) -> None:
    """Serve one evaluation a line."""
    data = np.load(path)
    x, y, inducing = data["x"], data["y"][:, None], data["inducing"]
    kernel = gpflow.kernels.SquaredExponential(float(data["variance"]), lengthscales=data["scales"])
    model = gpflow.models.SGPR((x, y), kernel, inducing, noise_variance=float(data["noise"]))

    @tf.function
    def evaluate():
        with tf.GradientTape() as tape:
            loss = model.training_loss()
        return loss, tape.gradient(loss, model.trainable_variables)

    before = status_bytes("VmRSS")
    for _ in sys.stdin:
        loss, gradient = evaluate()
        for each in gradient:
            tf.convert_to_tensor(each).numpy()
        print(json.dumps({"loss": float(loss), "growth_bytes": status_bytes("VmHWM") - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
