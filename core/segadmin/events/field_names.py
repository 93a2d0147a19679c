"""Common column names for each field, used for suggestions and by ``segadmin data preview --guess``."""

from __future__ import annotations

import difflib

from segadmin.contracts.event_kinds import plain_word

#: Field → other names, in the form of :func:`plain_word`, the more likely ones first.
ALSO_CALLED = {
    "user": (
        *("userid", "uid", "customer", "customerid", "visitorid", "memberid", "householdid", "buyer", "buyerid"),
        *("customerno", "customernumber", "customercode", "custid", "client", "clientid", "shopper", "shopperid"),
        *("member", "memberno", "account", "accountid", "visitor", "userpseudoid", "anonymousid", "email"),
        *("customeremail", "deviceid"),
        *("用户", "用户id", "用户编号", "顾客", "顾客id", "会员", "会员id", "会员编号", "会员号", "会员名", "会员卡号"),
        *("买家", "买家id", "买家会员名", "买家昵称", "客户", "客户id", "客户编号", "手机号"),
    ),
    "kind": (
        *("eventtype", "event", "eventname", "behavior", "behaviortype", "behaviour", "behaviourtype", "action"),
        *("actiontype", "activity", "eventaction", "type"),
        *("行为", "动作", "行为类型", "用户行为", "操作", "操作类型", "事件", "事件类型", "事件名称", "类型"),
    ),
    "item": (
        *("itemid", "product", "productid", "sku", "skuid", "goodsid", "asin", "stockcode", "itemno", "itemcode"),
        *("productcode", "productsku", "productno", "article", "articleid", "goods", "variantid", "lineitemsku"),
        *("productname", "itemname"),
        *("商品", "商品id", "商品编号", "商品编码", "商品货号", "货号", "宝贝id", "宝贝", "产品", "产品id", "产品编号"),
        *("sku编码", "商品名称", "宝贝标题"),
    ),
    "at": (
        *("timestamp", "time", "datetime", "date", "eventtime", "createdat", "eventtimestamp", "orderdate"),
        *("orderedat", "ordertime", "purchasedate", "purchasedat", "invoicedate", "transactiondate"),
        *("transactiontime", "paidat", "ts", "occurredat", "day"),
        *("时间", "时间戳", "日期", "下单时间", "付款时间", "订单创建时间", "订单付款时间", "创建时间", "行为时间"),
        *("交易时间", "成交时间", "购买时间", "购买日期", "下单日期", "发生时间", "日期时间"),
    ),
    "segment": ("label", "group", "cluster", "class", "分群", "人群", "标签"),
    "event_id": ("eventid", "messageid", "logid", "eventuuid", "uuid", "rowid", "子订单编号", "事件id", "日志id"),
    "quantity": (
        "qty",
        "units",
        "howmany",
        "count",
        "itemquantity",
        "lineitemquantity",
        "menge",
        "anzahl",
        "数量",
        "购买数量",
        "件数",
        "宝贝数量",
    ),
    "unit_price": (
        "unitprice",
        "priceperunit",
        "itemprice",
        "priceeach",
        "priceunit",
        "lineitemprice",
        "pieceprice",
        "unitcost",
        "priceperitem",
        "einzelpreis",
        "stückpreis",
        "prixunitaire",
        "preciounitario",
        "单价",
        "商品单价",
        "销售单价",
        "成交单价",
        "售价",
    ),
    "price": (
        *("amount", "total", "totalprice", "linetotal", "totalamount", "subtotal", "revenue", "sales", "salesvalue"),
        *("gesamt", "gesamtpreis", "betrag", "summe"),
        *("价格", "金额", "总价", "总金额", "实付金额", "付款金额", "支付金额", "成交金额", "实际支付金额", "小计"),
    ),
    "rating": ("stars", "star", "score", "ratingvalue", "评分", "星级", "打分"),
    "text": ("comment", "comments", "content", "review", "reviewtext", "评论", "评论内容", "评价", "评价内容"),
    "duration": ("dwelltime", "timespent", "seconds", "停留时长", "浏览时长", "时长"),
    "status": (
        *("orderstatus", "financialstatus", "paymentstatus", "state", "orderstate"),
        *("状态", "订单状态", "交易状态", "支付状态"),
    ),
    "currency": ("currencycode", "币种", "货币"),
}
#: Names for the number of an order. All lines of an order share it, so it cannot be an ``event_id``.
ORDER_NUMBERS = (
    *("orderid", "order", "orderno", "ordernumber", "invoice", "invoiceno", "invoiceid", "transactionid", "basketid"),
    *("receiptid", "checkoutid", "订单号", "订单编号", "订单id", "交易编号", "主订单编号"),
)
#: Minimum length of a matched suffix. Chinese names end with the noun: 订单付款时间 is a 时间.
_MIN_SUFFIX = 2


def likeness(field: str, name: str) -> float:
    """Return the similarity, from 0 to 1, of a column's name, or of the last key of a path, to a field's names."""
    aliases = (plain_word(field), *ALSO_CALLED.get(field, ()))
    return _likeness(aliases, name)


def is_order_number(name: str) -> bool:
    """Whether a column's name suggests that it contains order numbers."""
    return _likeness(ORDER_NUMBERS, name) >= 0.9


def _likeness(aliases: tuple[str, ...], name: str) -> float:
    word = plain_word(name.rsplit(".", 1)[-1])
    if word in aliases:
        return 1.0 - aliases.index(word) / 1000  # prefers more likely names
    if difflib.get_close_matches(word, aliases, n=1, cutoff=0.88):
        return 0.7
    chinese = [alias for alias in aliases if not alias.isascii() and len(alias) >= _MIN_SUFFIX]
    return 0.5 if any(word.endswith(alias) for alias in chinese) else 0.0
