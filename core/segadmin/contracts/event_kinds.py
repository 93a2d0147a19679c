"""The kinds of events, and the words that shops use for them."""

from __future__ import annotations

KINDS = ("view", "cart", "purchase", "rating", "review")
#: The kind of events that are ignored on purpose: they are counted, not quarantined.
IGNORE = "ignore"
#: Synonyms of the kinds in shops' logs. A ``return`` is stored as a purchase with a negative price.
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

#: Probable synonyms, in the form of :func:`plain_word`: proposed to a user, never assumed.
_PROBABLE_SYNONYMS = {
    "view": "viewed viewitem productview productviewed viewproduct itemview detail detailview pageview 查看 详情 访问",
    "cart": "addcart add2cart "
    "addtobasket addtobag cartadd productadded addtowishlist wishlist favorite favourite fav like "
    "collect save 收藏 加购物车 心愿单 关注",
    "purchase": "purchased bought buying sale sold transaction ordercompleted ordercomplete orderplaced orderpaid "
    "checkoutcompleted payment paid pay 支付 付款 成交 已购买",
    "return": "refunded orderrefunded productreturned returning 退款成功 退换",
    "rating": "rate rated stars star 打分",
    "review": "reviewed productreviewed feedback 评语 晒单",
    IGNORE: "impression exposure show productlistviewed productlistfiltered viewitemlist selectitem removefromcart "
    "productremoved cartremove cartviewed viewcart begincheckout checkoutstarted checkoutstepviewed "
    "checkoutstepcompleted paymentinfoentered addpaymentinfo addshippinginfo search productssearched login signup "
    "logout signedup signedin sessionstart firstvisit userengagement scroll page screen identify track group alias "
    "share ordercancelled orderupdated 曝光 搜索 登录 注册 分享",
}
_PROPOSED_KINDS = {word: kind for kind, words in _PROBABLE_SYNONYMS.items() for word in words.split()}


def plain_word(word: str) -> str:
    """Return a word or a column name in lower case, reduced to letters and digits."""
    return "".join(character for character in word.casefold() if character.isalnum())


def kind_of(word: str) -> str | None:
    """Return the kind, ``return`` or ``ignore`` that a shop's word probably means; ``None`` if unknown."""
    plain = plain_word(word)
    aliases = {plain_word(alias): kind for alias, kind in KIND_ALIASES.items()} | {kind: kind for kind in KINDS}
    return aliases.get(plain) or _PROPOSED_KINDS.get(plain)
