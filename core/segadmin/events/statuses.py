"""Statuses of orders in shops, and which of them mean that nothing was bought.

Statuses are compared in the form of :func:`plain_status`: in lower case, with ``_`` and ``-`` as spaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

#: Bought and returned; rows that are returns themselves are kept.
GIVEN_BACK = (
    *("refunded", "fully refunded", "refund", "returned"),
    *("erstattet", "zurückgesendet", "remboursé", "remboursée", "reembolsado"),
    *("退款", "退款成功", "已退款", "全额退款", "退款完成", "退货", "已退货", "退货成功", "退货完成"),
)
#: Nothing was bought, or not yet, or the purchase was reversed; such rows are rejected.
NOT_BOUGHT = (
    *("cancelled", "canceled", "cancel", "order cancelled", "order canceled", "deleted", "trash", "draft"),
    *("checkout draft", "abandoned", "rejected", "declined", "denied", "failed", "failure", "error", "payment failed"),
    *("payment error", "expired", "timeout", "timed out", "voided", "void", "chargeback", "charged back"),
    *("pending", "pending payment", "payment pending"),
    *("awaiting payment", "waiting for payment", "unpaid", "not paid", "on hold", "authorized", "authorised"),
    *("取消", "已取消", "订单取消", "订单已取消", "交易取消", "用户取消", "系统取消", "超时取消"),
    *("关闭", "已关闭", "交易关闭", "订单关闭", "订单已关闭", "超时关闭", "已失效", "已过期", "已作废", "作废"),
    *("待付款", "等待付款", "等待买家付款", "未付款", "待支付", "等待支付", "未支付", "支付失败", "付款失败"),
    *("拒收", "已拒收"),
    *(
        "storniert",
        "abgebrochen",
        "fehlgeschlagen",
        "abgelehnt",
        "offen",
        "unbezahlt",
        "annulé",
        "annulée",
        "cancelado",
    ),
    *GIVEN_BACK,
)
#: Something was bought, in any stage of delivery.
BOUGHT = (
    *("paid", "completed", "complete", "success", "successful", "succeeded", "ok", "done", "finished", "captured"),
    *("settled", "confirmed", "approved", "accepted", "processing", "processed", "in progress", "fulfilled"),
    *("unfulfilled", "partial", "shipped", "sent", "in transit", "out for delivery", "delivered", "received"),
    *("bezahlt", "abgeschlossen", "versendet", "versandt", "geliefert", "payé", "payée", "pagado"),
    *("已付款", "已支付", "支付成功", "付款成功", "买家已付款", "待发货", "等待发货", "等待卖家发货", "备货中"),
    *("已发货", "卖家已发货", "运输中", "配送中", "派送中", "待收货", "已送达", "已签收", "已收货", "确认收货"),
    *("已完成", "完成", "交易成功", "交易完成", "订单完成", "待评价", "已评价"),
)
#: An unknown part of the order was bought; such rows are kept.
PARTLY_BOUGHT = (
    *("partially refunded", "partial refund", "partially paid", "partially returned", "partially cancelled"),
    *("partially canceled", "部分退款", "部分付款", "部分退货", "部分发货"),
)
#: Maximum number of reported statuses; a column with more does not contain statuses.
_MOST_WORDS = 100


def not_bought(status: pl.Expr, is_return: pl.Expr, rules: Sequence[str] | None, words: Mapping[str, str]) -> pl.Expr:
    """Return whether each status means that nothing was bought; null if there is no status.

    Args:
        status: the source's cells.
        is_return: whether the row itself is a return.
        rules: the statuses with this meaning; default: :data:`NOT_BOUGHT`.
        words: status → ``bought`` or ``not_bought``; overrides ``rules``.
    """
    rejected = set(_plain(NOT_BOUGHT if rules is None else rules))
    rejected |= set(_plain(word for word, meaning in words.items() if meaning == "not_bought"))
    rejected -= set(_plain(word for word, meaning in words.items() if meaning == "bought"))
    plain = plain_status(status)
    return plain.is_in(sorted(rejected)) & ~(is_return & plain.is_in(GIVEN_BACK)).fill_null(value=False)


def undecided(status: pl.Series, rules: Sequence[str] | None, words: Mapping[str, str]) -> dict[str, int]:
    """Return the statuses of kept rows that are unknown, or mean a part of an order → number of rows."""
    import polars as pl

    if status.null_count() == len(status):
        return {}
    decided = _plain([*BOUGHT, *(NOT_BOUGHT if rules is None else rules), *words])
    counts = status.to_frame("status").group_by(plain_status(pl.col("status"))).len().drop_nulls()
    open_statuses = counts.filter(~pl.col("status").is_in(decided)).sort("len", "status", descending=[True, False])
    return dict(open_statuses.head(_MOST_WORDS).iter_rows())


def _plain(words: Iterable[str]) -> list[str]:
    import polars as pl

    column = pl.Series("word", list(words), dtype=pl.String)
    return column.to_frame().select(plain_status(pl.col("word"))).to_series().to_list()


def plain_status(status: pl.Expr) -> pl.Expr:
    """Return statuses in the form of the lists in this module, without WooCommerce's prefix ``wc-``."""
    spaced = status.str.to_lowercase().str.replace_all(r"[\s_-]+", " ").str.strip_chars()
    return spaced.str.strip_prefix("wc ")
