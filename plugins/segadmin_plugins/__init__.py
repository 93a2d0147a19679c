"""The built-in plugins, registered by name so that listing them imports no large library."""

from __future__ import annotations

from segadmin.contracts.hookspecs import hookimpl


@hookimpl
def register_textualizers() -> list[str]:
    """Return the built-in textualizers."""
    return [
        "compose = segadmin_plugins.textualizers.compose:Compose",
        "journey = segadmin_plugins.textualizers.journey:Journey",
        "list = segadmin_plugins.textualizers.list:ItemList",
        "mixed = segadmin_plugins.textualizers.mixed:Mixed",
        "reviews = segadmin_plugins.textualizers.reviews:Reviews",
        "rfm = segadmin_plugins.textualizers.rfm:Rfm",
        "sessions = segadmin_plugins.textualizers.sessions:Sessions",
        "summary = segadmin_plugins.textualizers.summary:Summary",
        "timeline = segadmin_plugins.textualizers.timeline:Timeline",
    ]


@hookimpl
def register_backbones() -> list[str]:
    """Return the built-in backbones."""
    return [
        "auxiliary-stacking = segadmin_plugins.backbones.auxiliary_stacking:AuxiliaryStacking",
        "cascade = segadmin_plugins.backbones.cascade:Cascade",
        "e5 = segadmin_plugins.backbones.e5:E5",
        "foresight = auxiliary-stacking",  # the former name, used by old versions and schedules
        "hf = segadmin_plugins.backbones.hf:HuggingFace",
        "linear = segadmin_plugins.backbones.linear:Linear",
        "minilm = segadmin_plugins.backbones.minilm:MiniLm",
        "self-supervised = segadmin_plugins.backbones.self_supervised:SelfSupervised",
        "stacked = segadmin_plugins.backbones.stacked:Stacked",
        "tabular = segadmin_plugins.backbones.tabular:Tabular",
        "tfidf = segadmin_plugins.backbones.tfidf:TfIdf",
        "tiny = segadmin_plugins.backbones.tiny:Tiny",
    ]


@hookimpl
def register_tuners() -> list[str]:
    """Return the built-in tuners."""
    return [
        "adalora = segadmin_plugins.tuners.low_rank:AdaLora",
        "full = segadmin_plugins.tuners.plain:Full",
        "head = segadmin_plugins.tuners.plain:Head",
        "houlsby = segadmin_plugins.tuners.houlsby:Houlsby",
        "ia3 = segadmin_plugins.tuners.low_rank:Ia3",
        "lora = segadmin_plugins.tuners.low_rank:Lora",
        "prefix = segadmin_plugins.tuners.prefix:Prefix",
    ]


@hookimpl
def register_engines() -> list[str]:
    """Return the built-in engines."""
    return [
        "onnxruntime = segadmin_plugins.engines.onnx_runtime:OnnxRuntime",
        "openvino = segadmin_plugins.engines.openvino:OpenVino",
        "torch = segadmin_plugins.engines.torch_packed:Torch",
        "transformers = segadmin_plugins.engines.plain:Plain",
    ]


@hookimpl
def register_trackers() -> list[str]:
    """Return the built-in trackers."""
    return [
        "mlflow = segadmin_plugins.trackers.mlflow:MlFlow",
        "tensorboard = segadmin_plugins.trackers.tensorboard:TensorBoard",
        "wandb = segadmin_plugins.trackers.wandb:Wandb",
    ]


@hookimpl
def register_labelers() -> list[str]:
    """Return the built-in labelers."""
    return [
        "future-affinity = segadmin_plugins.labelers.future_affinity:FutureAffinity",
        "future-growth = segadmin_plugins.labelers.future_growth:FutureGrowth",
        "future-lapse = segadmin_plugins.labelers.future_lapse:FutureLapse",
        "future-share = segadmin_plugins.labelers.future_share:FutureShare",
        "future-spend = segadmin_plugins.labelers.future_spend:FutureSpend",
        "future-use = segadmin_plugins.labelers.future_use:FutureUse",
        "rfm = segadmin_plugins.labelers.rfm:Rfm",
        "rules = segadmin_plugins.labelers.rules:Rules",
    ]


@hookimpl
def register_modalities() -> list[str]:
    """Return the built-in modalities."""
    return ["visual-words = segadmin_plugins.modalities.visual_words:VisualWords"]


@hookimpl
def register_sources() -> list[str]:
    """Return the built-in sources."""
    return [
        "csv = segadmin_plugins.sources.csv:Csv",
        "delta = segadmin_plugins.sources.delta:Delta",
        "images = segadmin_plugins.sources.images:Images",
        "inbox = segadmin_plugins.sources.inbox:Posted",
        "jsonl = segadmin_plugins.sources.jsonl:JsonLines",
        "parquet = segadmin_plugins.sources.parquet:Parquet",
        "redis = segadmin_plugins.sources.redis:RedisStream",
        "sql = segadmin_plugins.sources.sql:Sql",
    ]


@hookimpl
def register_sinks() -> list[str]:
    """Return the built-in sinks."""
    return [
        "csv = segadmin_plugins.sinks.csv:Csv",
        "jsonl = segadmin_plugins.sinks.jsonl:JsonLines",
        "parquet = segadmin_plugins.sinks.parquet:Parquet",
    ]


@hookimpl
def register_feeds() -> list[str]:
    """Return the built-in feeds."""
    return [
        "redis-stream = segadmin_plugins.feeds.redis_stream:RedisStreamFeed",
        "webhook = segadmin_plugins.feeds.webhook:Webhook",
    ]
