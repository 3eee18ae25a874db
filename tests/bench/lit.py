"""LitServe with batching in front of the same simulated device: `python lit.py PORT WAIT_S`."""

import sys
from pathlib import Path
from typing import Any

import litserve
import litserve.server
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
import simulated

# It would serve tools with the package `mcp` that Pixelmill needs, whose version it does not know.
litserve.server._MCP_AVAILABLE = False


class Api(litserve.LitAPI):
    """Decodes as our preprocess does, and answers what our postprocess would."""

    def setup(self, device: str) -> None:
        self.session = simulated.load({}, "cpu")

    def decode_request(self, request: dict[str, Any]) -> Any:
        params = simulated.Simulated(**request)
        return torch.from_numpy(simulated.preprocess(None, params))

    def batch(self, inputs: list[Any]) -> Any:
        return torch.stack(inputs)

    def predict(self, batch: Any) -> Any:
        return self.session.run(batch)

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"salt": int(output[0, 0, 0])}


if __name__ == "__main__":
    api = Api(max_batch_size=16, batch_timeout=float(sys.argv[2]))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=False)
    server.run(
        port=int(sys.argv[1]), host="127.0.0.1", num_api_servers=1, generate_client_file=False,
        log_level="warning",
    )  # fmt: skip
