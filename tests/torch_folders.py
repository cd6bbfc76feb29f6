"""Folders of tiny random models in transformers' own form, as its hub would give them. Needs torch and transformers.

Every network is drawn with a standard deviation that lets its input reach its output: several configurations default to
one (SAM's vision side: 1e-10) at which all images look alike and any comparison passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = tuple(
    "a chest film of lung left right heart effusion kidney mass no is there where what the in image tumour "  # noqa: SIM905
    "question answer user assistant small large normal . ? : , picture".split()
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "<image>", "<start_of_image>", "<end_of_image>")
STD = 0.02


def seeded() -> Any:
    import torch

    torch.manual_seed(3)
    return torch


def tokenizer(folder: Path, **special: str) -> Any:
    """Whole words, in the form of a fast tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(dict.fromkeys((*SPECIAL, *WORDS)))}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = BertPreTokenizer()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=64,
        **special,
    )
    made.save_pretrained(folder)
    return made


def saved(model: Any, folder: Path) -> Any:
    """Draw every weight, so that no zero initial value (relative positions, biases) hides a part; save; eval."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter + STD * torch.randn_like(parameter))
    model = model.eval()
    model.save_pretrained(folder)
    return model


def sam(folder: Path, side: int = 128) -> Any:
    from transformers import SamConfig, SamImageProcessor, SamModel

    seeded()
    vision = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": side,
        "initializer_range": STD,
        "output_channels": 32,
        "window_size": 4,
        "global_attn_indexes": [1],
        "mlp_dim": 96,
        "num_pos_feats": 16,
    }
    prompt = {"hidden_size": 32, "image_size": side, "mask_input_channels": 16}
    mask = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask)
    square = {"height": side, "width": side}
    SamImageProcessor(size={"longest_edge": side}, pad_size=square).save_pretrained(folder)
    return saved(SamModel(config), folder)


def sam2(folder: Path, side: int = 256) -> Any:
    from transformers import Sam2Config, Sam2Model

    seeded()
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [side, side],
        "hidden_size": 16,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 8, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [7, 7],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
        "fpn_hidden_size": 32,
        "initializer_range": STD,
    }
    prompt = {"hidden_size": 32, "image_size": side, "mask_input_channels": 16}
    mask = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask)
    return saved(Sam2Model(config), folder)


TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
LOOK = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8}


def clip(folder: Path) -> Any:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    seeded()
    ends = {"bos_token_id": 5, "eos_token_id": 6, "pad_token_id": 0, "max_position_embeddings": 32}
    config = CLIPConfig(text_config={**TEXT, **ends}, vision_config={**LOOK, "image_size": 32}, projection_dim=24)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer(folder)
    return saved(CLIPModel(config), folder)


def siglip(folder: Path) -> Any:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    seeded()
    text = {**TEXT, "max_position_embeddings": 16, "projection_size": 32}
    config = SiglipConfig(text_config=text, vision_config={**LOOK, "image_size": 32})
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer(folder)
    return saved(SiglipModel(config), folder)


def clipseg(folder: Path) -> Any:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, ViTImageProcessor

    seeded()
    ends = {"bos_token_id": 5, "eos_token_id": 6, "pad_token_id": 0, "max_position_embeddings": 32}
    config = CLIPSegConfig(
        text_config={**TEXT, **ends},
        vision_config={**LOOK, "image_size": 64},
        projection_dim=24,
        extract_layers=[0, 1],
        reduce_dim=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
        conditional_layer=0,
    )
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    tokenizer(folder)
    return saved(CLIPSegForImageSegmentation(config), folder)


def grounding_dino(folder: Path) -> Any:
    from transformers import (
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
    )

    seeded()
    backbone = {
        "model_type": "swin",
        "embed_dim": 16,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 2, 2, 2],
        "window_size": 4,
        "image_size": 64,
        "out_features": ["stage2", "stage3", "stage4"],
    }
    text = {
        "model_type": "bert",
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=12,
        max_text_len=32,
    )
    names = folder / "words.txt"
    names.write_text("\n".join(dict.fromkeys((*SPECIAL, *WORDS))))
    words = BertTokenizerFast(vocab_file=str(names), vocab={w: i for i, w in enumerate(names.read_text().split("\n"))})
    look = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(look, words).save_pretrained(folder)
    return saved(GroundingDinoForObjectDetection(config), folder)


LLAMA = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": 5,
    "eos_token_id": 6,
    "pad_token_id": 0,
}


def llama(folder: Path) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    seeded()
    tokenizer(folder)
    return saved(LlamaForCausalLM(LlamaConfig(**{k: v for k, v in LLAMA.items() if k != "model_type"})), folder)


CHAT = (
    "{% for m in messages %}{{ m.role }} : {% for p in m.content %}"
    "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %} {% endfor %}assistant :"
)


def llava(folder: Path) -> Any:
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    seeded()
    vision = {**LOOK, "model_type": "clip_vision_model", "image_size": 32, "projection_dim": 32}
    config = LlavaConfig(
        vision_config=vision, text_config=LLAMA, image_token_index=SPECIAL.index("<image>"), vision_feature_layer=-1
    )
    look = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        look,
        tokenizer(folder, additional_special_tokens=["<image>"]),
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)
    return saved(LlavaForConditionalGeneration(config), folder)


def blip2(folder: Path) -> Any:
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor

    seeded()
    vision = {**LOOK, "image_size": 32}
    former = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "encoder_hidden_size": 32,
        "vocab_size": 64,
    }
    text = {
        "model_type": "opt",
        "vocab_size": 64,
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "word_embed_proj_dim": 32,
        "bos_token_id": 5,
        "eos_token_id": 6,
        "pad_token_id": 0,
    }
    config = Blip2Config(
        vision_config=vision,
        qformer_config=former,
        text_config=text,
        num_query_tokens=4,
        image_token_index=SPECIAL.index("<image>"),
    )
    look = BlipImageProcessor(size={"height": 32, "width": 32})
    Blip2Processor(look, tokenizer(folder, additional_special_tokens=["<image>"]), num_query_tokens=4).save_pretrained(
        folder
    )
    return saved(Blip2ForConditionalGeneration(config), folder)


def gemma3(folder: Path) -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor, Gemma3Processor

    seeded()
    vision = {**LOOK, "model_type": "siglip_vision_model", "image_size": 32, "vision_use_head": False}
    text = {k: v for k, v in LLAMA.items() if k != "model_type"} | {
        "model_type": "gemma3_text",
        "head_dim": 8,
        "sliding_window": 64,
    }
    config = Gemma3Config(
        vision_config=vision,
        text_config=text,
        mm_tokens_per_image=4,
        boi_token_index=SPECIAL.index("<start_of_image>"),
        eoi_token_index=SPECIAL.index("<end_of_image>"),
        image_token_index=SPECIAL.index("<image>"),
    )
    extra = {"image_token": "<image>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    words = tokenizer(folder, additional_special_tokens=list(extra.values()), extra_special_tokens=extra)
    look = Gemma3ImageProcessor(size={"height": 32, "width": 32})
    chat = CHAT.replace("<image>", "<start_of_image>")
    Gemma3Processor(look, words, image_seq_length=4, chat_template=chat).save_pretrained(folder)
    return saved(Gemma3ForConditionalGeneration(config), folder)
