"""One training step by torch: the same networks, batch and optimizer."""

import numpy
import torch


def step(asked):
    torch.set_num_threads(asked["threads"])
    batch, hidden = int(asked["batch"]), int(asked.get("hidden", 0))
    kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f64": torch.float64}[asked["mode"]]
    torch.manual_seed(1)
    if asked["model"] == "mlp":
        net = torch.nn.Sequential(
            torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10)
        )
        inputs = torch.rand(batch, 64)
    else:
        net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Flatten(), torch.nn.Linear(32 * 16, 10),
        )
        inputs = torch.rand(batch, 1, 8, 8)
    labels = torch.randint(0, 10, (batch,))
    if kind == torch.float64:
        net, inputs = net.double(), inputs.double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    losses = []

    def run():
        optimizer.zero_grad(set_to_none=True)
        # Half widths by autocast, as torch has it: masters stay f32.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(net(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    return run, lambda: numpy.empty(0)
