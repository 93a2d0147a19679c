"""What shops call the state of an order, and which states mean that nothing was bought.

Statuses are compared by :func:`plain_status`: in lower case, with ``_`` and ``-`` as spaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

#: Bought and given back: of a row that is a return itself, nothing to leave it out for.
GIVEN_BACK = (
    *("refunded", "fully refunded", "refund", "returned"),
    *("erstattet", "zurückgesendet", "remboursé", "remboursée", "reembolsado"),
    *("退款", "退款成功", "已退款", "全额退款", "退款完成", "退货", "已退货", "退货成功", "退货完成"),
)
#: Nothing was bought, not yet or not any more: such rows are left out.
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
#: Something was bought, however far it has come.
BOUGHT = (
    *("paid", "completed", "complete", "success", "successful", "succeeded", "ok", "done", "finished", "captured"),
    *("settled", "confirmed", "approved", "accepted", "processing", "processed", "in progress", "fulfilled"),
    *("unfulfilled", "partial", "shipped", "sent", "in transit", "out for delivery", "delivered", "received"),
    *("bezahlt", "abgeschlossen", "versendet", "versandt", "geliefert", "payé", "payée", "pagado"),
    *("已付款", "已支付", "支付成功", "付款成功", "买家已付款", "待发货", "等待发货", "等待卖家发货", "备货中"),
    *("已发货", "卖家已发货", "运输中", "配送中", "派送中", "待收货", "已送达", "已签收", "已收货", "确认收货"),
    *("已完成", "完成", "交易成功", "交易完成", "订单完成", "待评价", "已评价"),
)
#: Part of the order was bought; which part, the status does not say. Such rows are kept.
PARTLY_BOUGHT = (
    *("partially refunded", "partial refund", "partially paid", "partially returned", "partially cancelled"),
    *("partially canceled", "部分退款", "部分付款", "部分退货", "部分发货"),
)
#: Statuses of some rows that are named; more of them are no statuses.
_MOST_WORDS = 100


def not_bought(status: pl.Expr, is_return: pl.Expr, rules: Sequence[str] | None, words: Mapping[str, str]) -> pl.Expr:
    """Return whether each status means that nothing was bought; null where there is none.

    Args:
        status: the cells as they came.
        is_return: whether the row itself is about goods given back.
        rules: the statuses that mean so; default: :data:`NOT_BOUGHT`.
        words: single statuses → ``bought`` or ``not_bought``, which goes before ``rules``.
    """
    left_out = set(_plain(NOT_BOUGHT if rules is None else rules))
    left_out |= set(_plain(word for word, meaning in words.items() if meaning == "not_bought"))
    left_out -= set(_plain(word for word, meaning in words.items() if meaning == "bought"))
    plain = plain_status(status)
    return plain.is_in(sorted(left_out)) & ~(is_return & plain.is_in(GIVEN_BACK)).fill_null(value=False)


def undecided(status: pl.Series, rules: Sequence[str] | None, words: Mapping[str, str]) -> dict[str, int]:
    """Return the statuses of kept rows that no list has, or that mean a part of an order, with their rows."""
    import polars as pl

    if status.null_count() == len(status):
        return {}
    decided = _plain([*BOUGHT, *(NOT_BOUGHT if rules is None else rules), *words])
    counts = status.to_frame("status").group_by(plain_status(pl.col("status"))).len().drop_nulls()
    found = counts.filter(~pl.col("status").is_in(decided)).sort("len", "status", descending=[True, False])
    return dict(found.head(_MOST_WORDS).iter_rows())


def _plain(words: Iterable[str]) -> list[str]:
    import polars as pl

    column = pl.Series("word", list(words), dtype=pl.String)
    return column.to_frame().select(plain_status(pl.col("word"))).to_series().to_list()


def plain_status(status: pl.Expr) -> pl.Expr:
    """Return a column of statuses in the form that the lists here have, without WooCommerce's ``wc-``."""
    spaced = status.str.to_lowercase().str.replace_all(r"[\s_-]+", " ").str.strip_chars()
    return spaced.str.strip_prefix("wc ")
