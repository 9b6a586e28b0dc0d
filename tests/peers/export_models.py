"""Exports tiny random encoders from Transformers in the spellings that users have them in.

usage: export_models.py OUT [--only PATTERN]...    (Transformers, PyTorch and onnxscript installed)

OUT/VERSION/ARCHITECTURE-HEAD-ATTENTION-EXPORTER.onnx, for architectures x heads x eager and sdpa attention x the
TorchScript exporter (opset 11, 14, 17, 18, 23) and the dynamo exporter (17, 18, 23; asked for less it writes 18). A file
that is there is not made again.
What an exporter itself cannot do is listed in OUT/VERSION/failed.txt.
"""
import argparse
import fnmatch
import pathlib
import time
import warnings

import torch
import transformers

SIZES = dict(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=48, vocab_size=99,
             max_position_embeddings=40)
ROBERTA = dict(SIZES, pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-5)
CONFIGS = {
    "bert": ("Bert", dict(SIZES, type_vocab_size=2)),
    "minilm": ("Bert", dict(SIZES, num_hidden_layers=3, hidden_size=24, num_attention_heads=3, type_vocab_size=2)),
    "roberta": ("Roberta", ROBERTA),
    "xlm-roberta": ("XLMRoberta", ROBERTA),
    "camembert": ("Camembert", ROBERTA),
    "distilbert": ("DistilBert", dict(n_layers=2, dim=32, n_heads=4, hidden_dim=48, vocab_size=99,
                                      max_position_embeddings=40)),
    "electra": ("Electra", dict(SIZES, embedding_size=16, type_vocab_size=2)),
    "albert": ("Albert", dict(SIZES, embedding_size=16, type_vocab_size=2, hidden_act="gelu_new")),
    "mpnet": ("MPNet", dict(SIZES, max_position_embeddings=42, pad_token_id=1)),
    "deberta-v2": ("DebertaV2", dict(SIZES, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"],
                                     norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False,
                                     type_vocab_size=0, max_relative_positions=-1)),
}
HEADS = {"seq": "ForSequenceClassification", "tok": "ForTokenClassification", "qa": "ForQuestionAnswering",
         "mlm": "ForMaskedLM", "base": "Model", "mc": "ForMultipleChoice"}
# The heads beside the three of every architecture are exported once, with what is used most.
EXTRA_HEADS = {"mlm", "base", "mc"}
OUTPUTS = {"qa": ["start_logits", "end_logits"], "base": ["last_hidden_state", "pooler_output"]}
# Scaled dot products are exported from opset 14 on.
EXPORTS = [("eager", "ts11"), *[(attention, exporter) for attention in ("eager", "sdpa")
                                for exporter in ("ts14", "ts17", "ts18", "ts23", "dynamo17", "dynamo18", "dynamo23")]]
EXTRA_EXPORTS = [("eager", "ts17"), ("sdpa", "dynamo18"), ("sdpa", "dynamo23")]


class Wrapped(torch.nn.Module):
    """Takes tensors in a fixed order and returns a tuple of tensors."""

    def __init__(self, model, names, outputs):
        super().__init__()
        self.model, self.names, self.outputs = model, names, outputs

    def forward(self, *inputs):
        result = self.model(**dict(zip(self.names, inputs)))
        return tuple(result[name] for name in self.outputs)


def make_model(architecture, head, attention):
    """A model whose every weight matters: of the size that trained weights have after scaling to its width."""
    prefix, config = CONFIGS[architecture]
    config = getattr(transformers, prefix + "Config")(num_labels=2 if head == "qa" else 3, **config)
    config._attn_implementation = attention
    model = getattr(transformers, prefix + HEADS[head])(config).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name.lower() and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if is_norm else 0.25 * noise)
    return model


def example(architecture, head, names):
    shape = (2, 3, 9) if head == "mc" else (2, 9)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 99, shape, generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, ..., 6:] = 0
    ids[mask == 0] = 1 if "oberta" in architecture or architecture in ("camembert", "mpnet") else 0
    made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return tuple(made[name] for name in names)


def export(architecture, head, attention, exporter, path):
    model = make_model(architecture, head, attention)
    names = ["input_ids", "attention_mask"]
    if architecture in ("bert", "minilm", "electra", "albert"):
        names.append("token_type_ids")
    outputs = OUTPUTS.get(head, ["logits"])
    inputs = example(architecture, head, names)
    if head == "base":
        with torch.no_grad():
            result = model(**dict(zip(names, inputs)))
        outputs = [name for name in outputs if result.get(name) is not None]
    wrapped = Wrapped(model, names, outputs)
    axes = ["batch", "choices", "seq"] if head == "mc" else ["batch", "seq"]
    opset = int(exporter.lstrip("tsdynamo"))
    if exporter.startswith("ts"):
        dynamic = {name: dict(enumerate(axes)) for name in names}
        for name in outputs:
            dynamic[name] = {0: "batch"} if name in ("logits", "pooler_output") and head in ("seq", "mc", "base") \
                else {0: "batch", 1: "seq"}
        torch.onnx.export(wrapped, inputs, path, input_names=names, output_names=outputs, dynamic_axes=dynamic,
                          opset_version=opset, dynamo=False)
        return
    dims = {axis: torch.export.Dim.DYNAMIC for axis in axes}
    shapes = ({i: dims[axis] for i, axis in enumerate(axes)},) * len(names)
    torch.onnx.export(wrapped, inputs, path, input_names=names, output_names=outputs, dynamic_shapes=(shapes,),
                      opset_version=opset, dynamo=True, verbose=False, external_data=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", action="append", help="a pattern of names, as bert-seq-*")
    flags = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder = flags.out / transformers.__version__.rsplit(".", 1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    failed = folder / "failed.txt"
    made = 0
    start = time.time()
    for head in HEADS:
        for attention, exporter in EXTRA_EXPORTS if head in EXTRA_HEADS else EXPORTS:
            for architecture in CONFIGS:
                name = f"{architecture}-{head}-{attention}-{exporter}"
                path = folder / (name + ".onnx")
                wanted = flags.only is None or any(fnmatch.fnmatch(name, pattern) for pattern in flags.only)
                known = failed.read_text() if failed.exists() else ""
                if path.exists() or not wanted or f"{name}: " in known:
                    continue
                try:
                    export(architecture, head, attention, exporter, path)
                    made += 1
                except Exception as error:  # noqa: BLE001  an exporter may fail in any way
                    reason = str(error).strip().splitlines() or [""]
                    failed.write_text(known + f"{name}: {type(error).__name__}: {reason[0][:200]}\n")
                    path.unlink(missing_ok=True)
                print(f"{name}  {time.time() - start:.0f} s", flush=True)
    print(f"{made} files made in {folder}")


if __name__ == "__main__":
    main()
