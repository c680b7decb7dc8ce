"""The encoders known by name: how they are built, where their weights are, how patches are prepared.

Constants come from CLAM (for its four encoders) and from each model's card on the Hugging Face hub.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from mil_heatmaps.encoders.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing

Builder = Literal["timm", "transformers", "conch_v1", "conch_v1_5", "efficientnet_lite0"]
Pool = Literal["none", "mean_map", "class_token", "class_and_mean"]


@dataclass(frozen=True)
class EncoderSpec:
    """One encoder.

    Attributes
    ----------
    name, width
        Name that users write, and length of a feature vector.
    builder
        Loading code that builds it.
    preprocessing : Preprocessing
    repo : str or None
        Repository of its weights on the Hugging Face hub.
    gated : bool
        Whether users must request access there.
    env : str or None
        Environment variable that may hold the path of the weights (CLAM's, where CLAM has one).
    architecture, options
        timm's name of the network and its constructor arguments; classes are given by their names.
    pool
        Step from the network's output to the feature vector.
    registers : int
        Number of tokens after the class token that are not patches.
    ignored : tuple of str
        Prefixes of keys in the weights that belong to omitted parts.
    """

    name: str
    width: int
    builder: Builder
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    repo: str | None = None
    gated: bool = False
    env: str | None = None
    architecture: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    pool: Pool = "none"
    registers: int = 0
    ignored: tuple[str, ...] = ()


_BICUBIC = Preprocessing(interpolation="bicubic")
_H_OPTIMUS = Preprocessing(mean=(0.707223, 0.578729, 0.703617), std=(0.211883, 0.230117, 0.177517))
_VIT = {"img_size": 224, "init_values": 1e-5, "num_classes": 0}
_VIRCHOW = {
    **_VIT, "global_pool": "", "mlp_ratio": 5.3375, "mlp_layer": "SwiGLUPacked", "act_layer": "SiLU",
    "dynamic_img_size": True,
}  # fmt: skip
_UNI_V2 = {
    **_VIT, "patch_size": 14, "depth": 24, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 2.66667 * 2,
    "no_embed_class": True, "mlp_layer": "SwiGLUPacked", "act_layer": "SiLU", "reg_tokens": 8,
    "dynamic_img_size": True,
}  # fmt: skip
_GIGAPATH = {
    **_VIT, "patch_size": 16, "depth": 40, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 5.33334,
    "global_pool": "token",
}  # fmt: skip

ENCODERS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        EncoderSpec(
            "resnet50_trunc", 1024, "timm", repo="timm/resnet50.tv_in1k", architecture="resnet50.tv_in1k",
            options={"features_only": True, "out_indices": (3,)}, pool="mean_map", ignored=("layer4.", "fc."),
        ),
        EncoderSpec(
            "uni_v1", 1024, "timm", repo="MahmoodLab/UNI", gated=True, env="UNI_CKPT_PATH",
            architecture="vit_large_patch16_224", options={**_VIT, "dynamic_img_size": True},
        ),
        EncoderSpec(
            "uni_v2", 1536, "timm", repo="MahmoodLab/UNI2-h", gated=True,
            architecture="vit_giant_patch14_224", options=_UNI_V2,
        ),
        EncoderSpec(
            "conch_v1", 512, "conch_v1", Preprocessing(mean=CLIP_MEAN, std=CLIP_STD),
            repo="MahmoodLab/CONCH", gated=True, env="CONCH_CKPT_PATH",
        ),
        EncoderSpec(
            "conch_v1_5", 768, "conch_v1_5", Preprocessing(resize_px=448),
            repo="MahmoodLab/TITAN", gated=True,
        ),
        EncoderSpec(
            "virchow", 2560, "timm", _BICUBIC, repo="paige-ai/Virchow", gated=True,
            architecture="vit_huge_patch14_224", options=_VIRCHOW, pool="class_and_mean",
        ),
        EncoderSpec(
            "virchow2", 2560, "timm", _BICUBIC, repo="paige-ai/Virchow2", gated=True,
            architecture="vit_huge_patch14_224", options={**_VIRCHOW, "reg_tokens": 4},
            pool="class_and_mean", registers=4,
        ),
        EncoderSpec(
            "gigapath", 1536, "timm", Preprocessing(resize_px=256, interpolation="bicubic", crop_px=224),
            repo="prov-gigapath/prov-gigapath", gated=True,
            architecture="vit_giant_patch14_dinov2", options=_GIGAPATH,
        ),
        EncoderSpec("phikon", 768, "transformers", repo="owkin/phikon", pool="class_token"),
        EncoderSpec("phikon_v2", 1024, "transformers", _BICUBIC, repo="owkin/phikon-v2", pool="class_token"),
        EncoderSpec(
            "hoptimus0", 1536, "timm", _H_OPTIMUS, repo="bioptimus/H-optimus-0", gated=True,
            architecture="vit_giant_patch14_reg4_dinov2",
            options={**_VIT, "dynamic_img_size": False, "global_pool": "token"},
        ),
        EncoderSpec(
            "hoptimus1", 1536, "timm", _H_OPTIMUS, repo="bioptimus/H-optimus-1", gated=True,
            architecture="vit_giant_patch14_reg4_dinov2",
            options={**_VIT, "dynamic_img_size": False, "global_pool": "token"},
        ),
        EncoderSpec(
            # Resized to 256 and then to 224, in float and without antialias: the published features of this network
            # were made in this way. A 256-px patch goes through the second step only.
            "efficientnet_lite0", 1280, "efficientnet_lite0",
            Preprocessing(resize_px=None, float_sizes=(256, 224)), pool="mean_map",
        ),
    )
}  # fmt: skip
