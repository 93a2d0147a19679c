"""The kinds of events, and what shops call them."""

from __future__ import annotations

KINDS = ("view", "cart", "purchase", "rating", "review")
#: Other words for the kinds, as shops' logs have them; ``return`` is stored as a purchase with a price below zero.
KIND_ALIASES = {
    "pv": "view",
    "click": "view",
    "browse": "view",
    "浏览": "view",
    "点击": "view",
    "add_to_cart": "cart",
    "加购": "cart",
    "加入购物车": "cart",
    "buy": "purchase",
    "order": "purchase",
    "购买": "purchase",
    "下单": "purchase",
    "score": "rating",
    "评分": "rating",
    "comment": "review",
    "评论": "review",
    "评价": "review",
    "refund": "return",
    "returned": "return",
    "退货": "return",
    "退款": "return",
}
