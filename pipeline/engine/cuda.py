"""The engine on a GPU: one position of all lanes is one CUDA graph, drawing included; the processor
looks after each block.

The same requests, random numbers and rules as the compiled engine, and float32 as there. The GPU's
rounding is its own, so texts are those of the same type of device. Without a GPU the same code runs
uncaptured, which is how it is tested. Shapes: W lanes, V vocab, H hidden, L layers, S tensors of
state a layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch

from pipeline.corpora.vocab import Vocab
from pipeline.counter_rng import uniforms
from pipeline.engine import kernels
from pipeline.engine.engine import Engine
from pipeline.engine.lanes import BLOCK, Lanes, Writable
from pipeline.engine.request import LINE, Piece, Request
from pipeline.engine.weights import Weights
from pipeline.model.network import CharRNN

TO_DRAW = -1  # in the place of a token that nothing decides beforehand
_WARM_UP = 3  # positions run before the capture, as torch asks


class CudaEngine(Engine):
    """The engine's interface; the network stays on the device as it is."""

    def __init__(
        self,
        network: CharRNN,
        vocab: Vocab,
        first_tokens: tuple[tuple[int, int], ...] = (),
        device: str = "cuda",
    ) -> None:
        host_weights = {
            name: value.detach().float().cpu().numpy()
            for name, value in network.state_dict().items()
        }
        # The host's copy is not stepped; Lanes keeps a lane's books in the shapes that it gives.
        super().__init__(
            Weights(network.config, host_weights, "fp32"), Writable.of(vocab, first_tokens)
        )
        self.device = torch.device(device)
        self.network = network.float().to(self.device).eval()

    def lanes(self, width: int, stop: bytes = b"", *, lines: bool = False) -> Lanes:
        return CudaLanes(self, width, LINE if lines else stop)


class CudaLanes(Lanes):
    """Lanes whose state lies on the device.

    The arrays of Lanes hold a lane's state when it starts and when it is saved, and its numbers
    always.
    """

    def __init__(self, engine: CudaEngine, width: int, stop: bytes) -> None:
        super().__init__(engine.weights, engine.writable, width, stop)
        device = engine.device
        symbols = len(engine.writable.vocab)
        self.device = device
        self.network = engine.network
        self.device_state = engine.network.initial_state(width)  # (L, S, W, H)
        self.device_logits = torch.zeros(width, symbols, device=device)
        # Of a block, by position: tokens that are not drawn, random numbers; what was read, and its
        # nats.
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        self.decided = torch.full((BLOCK, width), TO_DRAW, dtype=torch.int64, device=device)
        self.numbers_drawn = torch.zeros(BLOCK, width, dtype=torch.float64, device=device)
        self.tokens_read = torch.zeros(BLOCK, width, dtype=torch.int64, device=device)
        self.nats_drawn = torch.zeros(BLOCK, width, dtype=torch.float64, device=device)
        # Of a lane.
        self.temperatures = torch.ones(width, 1, dtype=torch.float64, device=device)
        self.top_ks = torch.zeros(width, 1, dtype=torch.int64, device=device)
        self.top_ps = torch.ones(width, 1, dtype=torch.float64, device=device)

    def start(self, name: Hashable, request: Request, saved: bytes | None = None) -> None:
        lane = self.running
        super().start(name, request, saved)
        self.device_state[:, 0, lane] = torch.from_numpy(self.state.hidden[:, lane])
        if self.device_state.shape[1] == 2:
            self.device_state[:, 1, lane] = torch.from_numpy(self.state.cell[:, lane])
        symbols = self.device_logits.shape[1]
        self.device_logits[lane] = torch.from_numpy(self.buffers.logits[lane, :symbols])

    def save(self, name: Hashable, more: Mapping[str, Any] | None = None) -> bytes:
        lane = self.names.index(name)
        self.state.hidden[:, lane] = self.device_state[:, 0, lane].cpu().numpy()
        self.state.cell[:, lane] = self.device_state[:, -1, lane].cpu().numpy()
        symbols = self.device_logits.shape[1]
        self.buffers.logits[lane, :symbols] = self.device_logits[lane].cpu().numpy()
        return super().save(name, more)

    def advance(self) -> list[Piece]:
        """Run a block that no lane's length ends in, then look where stop texts and lines end."""
        count = min(BLOCK, *(self._positions_left(lane) for lane in range(self.running)))
        self._fill_block(count)
        for _ in range(count):
            self._run_position()
        tokens = self.tokens_read[:count].cpu().numpy()
        nats = self.nats_drawn[:count].cpu().numpy()
        pieces = [
            self._account(lane, name, tokens[:, lane], nats[:, lane])
            for lane, name in enumerate(self.names)
        ]
        self._remove_ended(pieces)
        return pieces

    @functools.cached_property
    def _run_position(self) -> Callable[[], None]:
        """One position of all lanes; on a GPU captured once and replayed, so that nothing but the
        replay is launched.
        """
        if self.device.type != "cuda":
            return self._position
        state = self.device_state.clone()
        logits = self.device_logits.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._position()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._position()
        # Warming up and capturing moved the lanes on: back to where they were.
        self.device_state.copy_(state)
        self.device_logits.copy_(logits)
        self.at.zero_()
        return graph.replay

    @torch.no_grad()
    def _position(self) -> None:
        """Choose a token for every lane, note it, feed it. In place throughout: a graph has no
        other memory.
        """
        decided = self.decided.index_select(0, self.at)[0]
        is_drawn = decided == TO_DRAW
        logits = self.device_logits.double()
        logits[:, : self.writable.lowest] = -torch.inf
        drawn = self._draw(logits, self.numbers_drawn.index_select(0, self.at)[0])
        tokens = torch.where(is_drawn, drawn, decided)
        nats = -torch.log_softmax(logits, 1).gather(1, tokens.unsqueeze(1))[:, 0]
        self.tokens_read.index_copy_(0, self.at, tokens.unsqueeze(0))
        self.nats_drawn.index_copy_(0, self.at, torch.where(is_drawn, nats, 0.0).unsqueeze(0))
        next_logits, state = self.network.step(tokens, self.device_state)
        self.device_state.copy_(state)
        self.device_logits.copy_(next_logits)
        self.at += 1

    def _draw(self, logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """kernels._draw for logits (W, V) and numbers (W,)."""
        greedy = self.temperatures == 0
        weights = torch.softmax(logits / torch.where(greedy, 1.0, self.temperatures), 1)
        ordered, order = weights.sort(dim=1, descending=True, stable=True)
        rank = torch.arange(weights.shape[1], device=weights.device)
        in_top_k = (self.top_ks == 0) | (rank < self.top_ks)
        ordered = torch.where(in_top_k, ordered, 0.0)
        before = ordered.cumsum(1) - ordered
        in_top_p = (before < self.top_ps * ordered.sum(1, keepdim=True)) | (rank == 0)
        ordered = torch.where(in_top_p, ordered, 0.0)
        cumulative = torch.zeros_like(weights).scatter(1, order, ordered).cumsum(1)
        targets = numbers.unsqueeze(1) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, targets, right=True)[:, 0]
        last_token = weights.shape[1] - 1
        return torch.where(greedy[:, 0], logits.argmax(1), drawn.clamp(max=last_token))

    def _positions_left(self, lane: int) -> int:
        """Positions until the lane's length is reached: the rest of its prime and of its text."""
        numbers = self.own.numbers[lane]
        prime_left = numbers[kernels.PRIME_STOP] - numbers[kernels.PRIME_AT]
        return int(prime_left + numbers[kernels.LEFT])

    def _fill_block(self, count: int) -> None:
        """What the block reads: tokens that are not drawn, and the lanes' random numbers."""
        decided = np.full((count, self.width), TO_DRAW, np.int64)
        drawn = np.zeros((count, self.width))
        for lane in range(self.running):
            numbers = self.own.numbers[lane]
            key = int(self.own.keys[lane])
            drawn[:, lane] = uniforms([key], int(numbers[kernels.POSITION]), count)[0]
            prime = self.primes[numbers[kernels.PRIME_AT] : numbers[kernels.PRIME_STOP]][:count]
            decided[: len(prime), lane] = prime
            if not numbers[kernels.BEGUN] and not len(prime):
                decided[0, lane] = self._first_token(drawn[0, lane])
            too_long = numbers[kernels.ITEMS] > 0 and self._positions_left(lane) == count
            if too_long:
                decided[-1, lane] = self.stop[-1]
        running = slice(0, self.running)
        self.temperatures[running, 0] = torch.from_numpy(self.own.temperatures[running])
        self.top_ks[running, 0] = torch.from_numpy(self.own.numbers[running, kernels.TOP_K])
        self.top_ps[running, 0] = torch.from_numpy(self.own.top_ps[running])
        self.decided[:count].copy_(torch.from_numpy(decided))
        self.numbers_drawn[:count].copy_(torch.from_numpy(drawn))
        self.at.zero_()

    def _first_token(self, number: float) -> int:
        counts = self.writable.first_counts
        token = int(np.searchsorted(counts, number * counts[-1], side="right"))
        return min(token, len(counts) - 1)

    def _first_nats(self, token: int) -> float:
        counts = self.writable.first_counts
        below = counts[token - 1] if token else 0.0
        return float(-np.log((counts[token] - below) / counts[-1]))

    def _account(self, lane: int, name: Hashable, tokens: np.ndarray, nats: np.ndarray) -> Piece:
        """What the block means for one lane: its text up to where it ends, its numbers and nats
        moved on.
        """
        numbers = self.own.numbers[lane]
        written = []
        ended = False
        for token, cost in zip(tokens.tolist(), nats.tolist(), strict=True):
            numbers[kernels.POSITION] += 1
            if numbers[kernels.PRIME_AT] < numbers[kernels.PRIME_STOP]:
                if numbers[kernels.PRIME_AT] >= numbers[kernels.PRIME_START]:
                    written.append(token)
                numbers[kernels.PRIME_AT] += 1
                numbers[kernels.BEGUN] = 1
                continue
            if not numbers[kernels.BEGUN]:
                self.own.nats[lane] += self._first_nats(token)
            numbers[kernels.BEGUN] = 1
            numbers[kernels.LEFT] -= 1
            numbers[kernels.SAMPLED] += 1
            self.own.nats[lane] += cost
            written.append(token)
            if kernels.ends_text(numbers, token, self.stop, self.borders):
                ended = self._next_item(lane)
                break
        text = self.writable.vocab.decode(written)
        sampled = int(numbers[kernels.SAMPLED])
        return Piece(name, text, sampled, float(self.own.nats[lane]), ended)

    def _next_item(self, lane: int) -> bool:
        """After a stop: begin the next item, if there is one, by reading the line feed again;
        whether there is none.
        """
        numbers = self.own.numbers[lane]
        numbers[kernels.ITEMS] -= 1
        if numbers[kernels.ITEMS] <= 0:
            numbers[kernels.LEFT] = 0
            return True
        numbers[kernels.LEFT] = numbers[kernels.LIMIT]
        numbers[kernels.PRIME_AT] = numbers[kernels.PRIME_START] - 1
        numbers[kernels.POSITION] -= 1  # the line feed's, which is read a second time
        self.device_state[:, :, lane] = 0
        return False

    def _remove(self, lane: int) -> None:
        last = self.running - 1
        super()._remove(lane)
        self.device_state[:, :, lane] = self.device_state[:, :, last]
        self.device_logits[lane] = self.device_logits[last]
