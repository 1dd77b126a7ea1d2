"""The engine on a GPU: one position of all lanes is one CUDA graph, drawing included; the processor looks after each block.

The same requests, random numbers and rules as the compiled engine, and float32 as there; the GPU's rounding is its own, so
texts are those of the same type of device. Without a GPU the same code runs uncaptured, which is how it is tested.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch

from pipeline.corpora.vocab import Vocab
from pipeline.counter_rng import uniforms
from pipeline.sampling import kernels
from pipeline.sampling.engine import BLOCK, LINE, Engine, Lanes, Piece, Request
from pipeline.training.model import CharRNN

DRAWN = -1  # in the place of a token that nothing decides beforehand
_WARM_UP = 3  # positions run before the capture, as torch asks


class CudaEngine(Engine):
    """The engine's interface; the network stays on the device as it is."""

    def __init__(self, model: CharRNN, vocab: Vocab, first_tokens: list[tuple[int, int]], device: str = "cuda") -> None:
        super().__init__(model, vocab, first_tokens)
        self.device = torch.device(device)
        self.network = model.float().to(self.device).eval()

    def lanes(self, width: int, stop: bytes = b"", *, lines: bool = False) -> Lanes:
        return CudaLanes(self, width, LINE if lines else stop)


class CudaLanes(Lanes):
    """Lanes whose state lies on the device. The arrays of Lanes hold a lane's state when it starts and when it is saved."""

    engine: CudaEngine

    def __init__(self, engine: CudaEngine, width: int, stop: bytes) -> None:
        super().__init__(engine, width, stop)
        device = engine.device
        self.state = engine.network.initial_state(width)  # (L, S, W, H)
        self.scores = torch.zeros(width, len(engine.vocab), device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)  # the position in the block
        self.given = torch.full((BLOCK, width), DRAWN, dtype=torch.int64, device=device)
        self.chances = torch.zeros(BLOCK, width, dtype=torch.float64, device=device)
        self.out = torch.zeros(BLOCK, width, dtype=torch.int64, device=device)
        self.costs = torch.zeros(BLOCK, width, dtype=torch.float64, device=device)
        self.heat = torch.ones(width, 1, dtype=torch.float64, device=device)
        self.keep_k = torch.zeros(width, 1, dtype=torch.int64, device=device)
        self.keep_p = torch.ones(width, 1, dtype=torch.float64, device=device)

    def start(self, name: Hashable, request: Request, saved: bytes | None = None) -> None:
        lane = self.running
        super().start(name, request, saved)
        self.state[:, 0, lane] = torch.from_numpy(self.hidden[:, lane])
        if self.state.shape[1] == 2:
            self.state[:, 1, lane] = torch.from_numpy(self.cell[:, lane])
        self.scores[lane] = torch.from_numpy(self.logits[lane, : self.scores.shape[1]])

    def save(self, name: Hashable, more: Mapping[str, Any] | None = None) -> bytes:
        lane = self.names.index(name)
        self.hidden[:, lane] = self.state[:, 0, lane].cpu().numpy()
        self.cell[:, lane] = self.state[:, -1, lane].cpu().numpy()
        self.logits[lane, : self.scores.shape[1]] = self.scores[lane].cpu().numpy()
        return super().save(name, more)

    def advance(self) -> list[Piece]:
        """Run a block that no lane's length ends in, then look where stop texts and lines end."""
        count = min(BLOCK, *(self._ahead(lane) for lane in range(self.running)))
        self._give(count)
        for _ in range(count):
            self._position()
        tokens, costs = self.out[:count].cpu().numpy(), self.costs[:count].cpu().numpy()
        pieces = [self._piece(lane, name, tokens[:, lane], costs[:, lane]) for lane, name in enumerate(self.names)]
        for lane in reversed(range(self.running)):
            if pieces[lane].ended:
                self._remove(lane)
        return pieces

    @functools.cached_property
    def _position(self) -> Callable[[], None]:
        """One position of all lanes; on a GPU captured once and replayed, so that nothing but the replay is launched."""
        if self.engine.device.type != "cuda":
            return self._step
        kept = self.state.clone(), self.scores.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self.state.copy_(kept[0])
        self.scores.copy_(kept[1])
        self.at.zero_()
        return graph.replay

    @torch.no_grad()
    def _step(self) -> None:
        """Choose a token for every lane, note it, feed it. In place throughout: a graph has no other memory."""
        given = self.given.index_select(0, self.at)[0]
        scores = self.scores.double()
        scores[:, : self.engine.lowest] = -torch.inf
        drawn = self._draw(scores, self.chances.index_select(0, self.at)[0])
        tokens = torch.where(given == DRAWN, drawn, given)
        nats = -torch.log_softmax(scores, 1).gather(1, tokens.unsqueeze(1))[:, 0]
        self.out.index_copy_(0, self.at, tokens.unsqueeze(0))
        self.costs.index_copy_(0, self.at, torch.where(given == DRAWN, nats, 0.0).unsqueeze(0))
        logits, state = self.engine.network.step(tokens, self.state)
        self.state.copy_(state)
        self.scores.copy_(logits)
        self.at += 1

    def _draw(self, scores: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """kernels._draw for scores (W, V) and numbers (W,)."""
        greedy = self.heat == 0
        weights = torch.softmax(scores / torch.where(greedy, 1.0, self.heat), 1)
        ordered, order = weights.sort(dim=1, descending=True, stable=True)
        rank = torch.arange(weights.shape[1], device=weights.device)
        ordered = torch.where((self.keep_k == 0) | (rank < self.keep_k), ordered, 0.0)
        before = ordered.cumsum(1) - ordered
        ordered = torch.where((before < self.keep_p * ordered.sum(1, keepdim=True)) | (rank == 0), ordered, 0.0)
        heap = torch.zeros_like(weights).scatter(1, order, ordered).cumsum(1)
        drawn = torch.searchsorted(heap, (numbers.unsqueeze(1) * heap[:, -1:]), right=True)[:, 0]
        return torch.where(greedy[:, 0], scores.argmax(1), drawn.clamp(max=weights.shape[1] - 1))

    def _ahead(self, lane: int) -> int:
        """Positions until the lane's length is reached: what is left of the prime, and of the text."""
        own = self.numbers[lane]
        return int(own[kernels.PRIME_STOP] - own[kernels.PRIME_AT] + own[kernels.LEFT])

    def _give(self, count: int) -> None:
        """What the block reads: tokens that are not drawn, and the lanes' random numbers."""
        given, chances = np.full((count, self.width), DRAWN, np.int64), np.zeros((count, self.width))
        for lane in range(self.running):
            own = self.numbers[lane]
            chances[:, lane] = uniforms([int(self.keys[lane])], int(own[kernels.POSITION]), count)[0]
            prime = self.primes[own[kernels.PRIME_AT] : own[kernels.PRIME_STOP]][:count]
            given[: len(prime), lane] = prime
            if not own[kernels.BEGUN] and not len(prime):
                first = self.engine.first
                token = np.searchsorted(first, chances[0, lane] * first[-1], side="right")
                given[0, lane] = min(int(token), len(first) - 1)
            if own[kernels.ITEMS] > 0 and self._ahead(lane) == count:
                given[-1, lane] = self.stop[-1]  # an item that is too long
        running = slice(0, self.running)
        self.heat[running, 0] = torch.from_numpy(self.temperatures[running])
        self.keep_k[running, 0] = torch.from_numpy(self.numbers[running, kernels.TOP_K])
        self.keep_p[running, 0] = torch.from_numpy(self.top_ps[running])
        self.given[:count].copy_(torch.from_numpy(given))
        self.chances[:count].copy_(torch.from_numpy(chances))
        self.at.zero_()

    def _piece(self, lane: int, name: Hashable, tokens: np.ndarray, costs: np.ndarray) -> Piece:
        """What the block means for one lane: its text up to where it ends, its numbers and nats moved on."""
        own, written, ended = self.numbers[lane], [], False
        for token, cost in zip(tokens.tolist(), costs.tolist(), strict=True):
            own[kernels.POSITION] += 1
            if own[kernels.PRIME_AT] < own[kernels.PRIME_STOP]:
                if own[kernels.PRIME_AT] >= own[kernels.PRIME_START]:
                    written.append(token)
                own[kernels.PRIME_AT] += 1
                own[kernels.BEGUN] = 1
                continue
            if not own[kernels.BEGUN]:
                first = self.engine.first
                share = (first[token] - (first[token - 1] if token else 0.0)) / first[-1]
                self.nats[lane] -= np.log(share) + cost
            own[kernels.BEGUN] = 1
            own[kernels.LEFT] -= 1
            own[kernels.SAMPLED] += 1
            self.nats[lane] += cost
            written.append(token)
            if kernels._ends(own, token, self.stop, self.borders):
                ended = self._next_item(lane)
                break
        text = self.engine.vocab.decode(written)
        return Piece(name, text, int(own[kernels.SAMPLED]), float(self.nats[lane]), ended)

    def _next_item(self, lane: int) -> bool:
        """After a stop: begin the next item, if there is one, by reading the line feed again; whether there is none."""
        own = self.numbers[lane]
        own[kernels.ITEMS] -= 1
        if own[kernels.ITEMS] <= 0:
            own[kernels.LEFT] = 0
            return True
        own[kernels.LEFT], own[kernels.PRIME_AT] = own[kernels.LIMIT], own[kernels.PRIME_START] - 1
        own[kernels.POSITION] -= 1  # the line feed's, which is read a second time
        self.state[:, :, lane] = 0
        return False

    def _remove(self, lane: int) -> None:
        last = self.running - 1
        super()._remove(lane)
        self.state[:, :, lane] = self.state[:, :, last]
        self.scores[lane] = self.scores[last]
