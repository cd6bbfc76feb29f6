"""Worker program: language models and image readers of transformers. Run by ``worker_main``; imports torch,
transformers, Pillow, and lm-format-enforcer where a schema is asked for.

setup: folder, kind ("writer" or "reader"), gguf (a file's name, or none), threads, precision.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np

MOST_PROMPT = 8192
"""Tokens of a prompt; less where the model's own limit is less."""


class Refused(Exception):
    """The request cannot be answered; the text says why."""


def place(setup: dict[str, Any]) -> tuple[Any, Any]:
    """(device, dtype): the GPU in bfloat16 where there is one, else the CPU in float32, unless told otherwise."""
    import torch

    torch.set_num_threads(int(setup.get("threads", 2)))
    torch.set_grad_enabled(False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wanted = setup.get("precision", "auto")
    dtype = torch.bfloat16 if wanted == "bf16" or (wanted == "auto" and device.type == "cuda") else torch.float32
    return device, dtype


class Language:
    """What a writer and a reader share: generate, with a deadline, greedily."""

    tokenizer: Any

    def __init__(self, setup: dict[str, Any], kind: Any) -> None:
        self.device, self.dtype = place(setup)
        more = {"gguf_file": setup["gguf"]} if setup.get("gguf") else {"use_safetensors": True}
        self.model = (
            kind.from_pretrained(
                setup["folder"], local_files_only=True, trust_remote_code=False, dtype=self.dtype, **more
            )
            .eval()
            .to(self.device)
        )
        self.more = {"gguf_file": setup["gguf"]} if setup.get("gguf") else {}
        self.limit = min(MOST_PROMPT, longest(self.model.config))
        self.facts = facts(self)

    def generate(self, given: dict[str, Any], max_tokens: int, timeout_s: float, allowed: Any = None) -> dict[str, Any]:
        """The tokens after the prompt, their mean probability, and how it ended: "done", "length" or "time"."""
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList

        start, prompt = time.monotonic(), int(given["input_ids"].shape[1])
        if prompt + max_tokens > self.limit:
            raise Refused(f"a prompt of {prompt} tokens; at most {self.limit} with the answer's {max_tokens}")

        class Late(StoppingCriteria):  # type: ignore[misc]
            def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
                late = time.monotonic() - start > timeout_s
                return torch.full((ids.shape[0],), late, dtype=torch.bool, device=ids.device)

        given = {
            k: v.to(self.device, self.dtype) if v.is_floating_point() else v.to(self.device) for k, v in given.items()
        }
        out = self.model.generate(
            **given,
            max_new_tokens=max_tokens,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.ends()[0],
            stopping_criteria=StoppingCriteriaList([Late()]),
            prefix_allowed_tokens_fn=allowed,
            return_dict_in_generate=True,
            output_logits=True,
        )
        new = out.sequences[0]
        new = new[prompt:] if new.shape[0] > prompt or not len(out.logits) else new  # some give only what is new
        new = new[-len(out.logits) :] if len(out.logits) else new
        ended = bool(len(new)) and int(new[-1]) in self.ends()
        sure = [float(step[0].float().log_softmax(-1)[int(t)]) for step, t in zip(out.logits, new, strict=True)]
        stopped = "done" if ended else "length" if len(new) >= max_tokens else "time"
        return {
            "text": self.tokenizer.decode(new, skip_special_tokens=True),
            "prompt_tokens": prompt,
            "tokens": len(new),
            "seconds": time.monotonic() - start,
            "stopped": stopped,
            "sure": math.exp(sum(sure) / len(sure)) if sure else 0.0,
        }

    def ends(self) -> list[int]:
        """Token ids that end an answer."""
        ends = getattr(self.model.generation_config, "eos_token_id", None)
        given = ends if isinstance(ends, list) else [ends]
        found = [int(t) for t in (*given, self.tokenizer.eos_token_id) if t is not None]
        return found or [0]


class Writer(Language):
    """write(messages, schema, max_tokens, timeout_s)."""

    def __init__(self, setup: dict[str, Any]) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        super().__init__(setup, AutoModelForCausalLM)
        self.tokenizer = AutoTokenizer.from_pretrained(setup["folder"], local_files_only=True, **self.more)
        self.words: Any = None

    def write(
        self, messages: list[dict[str, str]], schema: dict[str, Any] | None, max_tokens: int, timeout_s: float
    ) -> dict[str, Any]:
        start = time.monotonic()
        given = self.tokenizer(self.prompt(messages), return_tensors="pt", add_special_tokens=not self.templated)
        given.pop("token_type_ids", None)
        allowed = self.constrained(schema, int(given["input_ids"].shape[1])) if schema is not None else None
        left = max(0.0, timeout_s - (time.monotonic() - start))
        answer = self.generate(dict(given), max_tokens, left, allowed)
        answer["seconds"] = time.monotonic() - start
        if schema is not None and answer["stopped"] != "done" and whole(answer["text"]):
            answer["stopped"] = "done"  # the object is closed: what would follow is only the end token
        return answer

    @property
    def templated(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def prompt(self, messages: list[dict[str, str]]) -> str:
        if self.templated:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return "".join(f"{m['role']}: {m['content']}\n" for m in messages) + "assistant:"

    def constrained(self, schema: dict[str, Any], prompt: int) -> Any:
        """The tokens that a JSON schema leaves open at each step, by lm-format-enforcer."""
        try:
            from lmformatenforcer import CharacterLevelParserConfig, JsonSchemaParser, TokenEnforcer
            from lmformatenforcer import TokenEnforcerTokenizerData as Data
        except ImportError:
            raise Refused("a JSON schema needs the library lm-format-enforcer, which is not installed") from None
        if self.words is None:
            self.words = Data(vocabulary(self.tokenizer), self.decoded, self.ends(), False, len(self.tokenizer))
        config = CharacterLevelParserConfig(max_consecutive_whitespaces=1, force_json_field_order=True)
        enforcer = TokenEnforcer(self.words, JsonSchemaParser(schema, config=config))

        def allowed(batch: int, ids: Any) -> list[int]:
            # The prompt is no part of the answer: one token stands for it, as the enforcer wants a beginning.
            return list(enforcer.get_allowed_tokens(ids[prompt - 1 :].tolist()).allowed_tokens) or self.ends()

        return allowed

    def decoded(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids)).rstrip("\N{REPLACEMENT CHARACTER}")


class Reader(Language):
    """answer(question, max_tokens, timeout_s, count, image0, image1, ...): images of any size, uint8 (y, x, 3)."""

    def __init__(self, setup: dict[str, Any]) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        super().__init__(setup, AutoModelForImageTextToText)
        self.prepare = AutoProcessor.from_pretrained(setup["folder"], local_files_only=True)
        self.tokenizer = self.prepare.tokenizer

    def answer(
        self, question: str, max_tokens: int, timeout_s: float, count: int, **images: np.ndarray
    ) -> dict[str, Any]:
        from PIL import Image

        start = time.monotonic()
        pictures = [Image.fromarray(images[f"image{i}"]) for i in range(count)]
        kind = self.model.config.model_type
        if getattr(self.prepare, "chat_template", None):
            parts = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": question}]
            text = self.prepare.apply_chat_template(
                [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
            )
        elif kind in ("blip-2", "instructblip"):
            if not pictures:
                raise Refused("it answers about an image only")
            text = f"Question: {question} Answer:"
        else:
            token = str(getattr(self.prepare, "image_token", "<image>"))
            text = f"USER: {(token + chr(10)) * count}{question} ASSISTANT:"
        given = self.prepare(text=text, images=pictures or None, return_tensors="pt")
        # A chat template writes the beginning of the text itself: it must not stand there twice.
        ids, first = given["input_ids"], self.tokenizer.bos_token_id
        if first is not None and ids.shape[1] > 1 and int(ids[0, 0]) == int(ids[0, 1]) == first:
            for name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"):
                if name in given:
                    given[name] = given[name][:, 1:]
        left = max(0.0, timeout_s - (time.monotonic() - start))
        answer = self.generate(dict(given), max_tokens, left)
        return {**answer, "seconds": time.monotonic() - start}


def vocabulary(tokenizer: Any) -> list[tuple[int, str, bool]]:
    """(id, text, begins a word) of every token but the special ones, as lm-format-enforcer wants them. A token's text
    is what it adds after another one, for some tokenizers leave out a space at the beginning."""
    zero = tokenizer.encode("0", add_special_tokens=False)[-1]
    special = set(tokenizer.all_special_ids)
    found = []
    for id in range(len(tokenizer)):
        if id not in special:
            after = tokenizer.decode([zero, id])[1:]
            found.append((id, after, len(after) > len(tokenizer.decode([id]))))
    return found


def whole(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def longest(config: Any) -> int:
    """The longest text that a model was made for."""
    for one in (config, getattr(config, "text_config", None)):
        value = getattr(one, "max_position_embeddings", None)
        if isinstance(value, int) and value > 0:
            return value
    return MOST_PROMPT


def facts(program: Any) -> dict[str, Any]:
    """What the parent may show: where and how it runs, and how large it is."""
    import torch
    import transformers

    return {
        "device": program.device.type,
        "dtype": str(program.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in program.model.parameters()),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


KINDS = {"writer": Writer, "reader": Reader}


def Program(setup: dict[str, Any]) -> Any:
    """What ``worker_main`` calls."""
    return KINDS[setup["kind"]](setup)
