"""The parameters of synthetic data: behaviour of the segments, and the vocabulary of the shop."""

from __future__ import annotations

from dataclasses import dataclass

from segadmin.settings import Language


@dataclass(frozen=True)
class Kind:
    """The behaviour of users in a segment."""

    name: str
    share: float  #: fraction of all users
    daily: float  #: mean number of events per day
    kinds: tuple[float, float, float, float, float]  #: weights of view, cart, purchase, rating, review
    categories: tuple[float, ...]  #: weights, in the order of :data:`CATEGORIES`
    price_preference: float  #: above 1: expensive items of a category are more likely, below 1: cheap ones
    hour: float  #: mean hour of the day
    stars: float  #: mean of ratings
    ends: float = 1.0  #: fraction of the time after which there are no more events


#: phone, clothes, food, baby, home, beauty, books, sport
SEGMENTS = (
    Kind("bargain_hunter", 0.22, 0.50, (60, 25, 12, 1, 2), (1, 4, 5, 1, 3, 3, 1, 1), 0.4, 22, 3.4),
    Kind("loyal", 0.18, 0.45, (45, 15, 28, 6, 6), (1, 3, 6, 1, 4, 3, 2, 1), 1.0, 19, 4.6),
    Kind("big_spender", 0.10, 0.30, (55, 12, 24, 4, 5), (6, 3, 1, 1, 3, 4, 1, 4), 3.0, 14, 4.2),
    Kind("window_shopper", 0.22, 0.60, (93, 5, 1, 0.5, 0.5), (4, 5, 1, 1, 2, 3, 2, 2), 1.5, 12, 3.8),
    Kind("new_parent", 0.13, 0.40, (50, 18, 24, 3, 5), (0.5, 2, 4, 12, 3, 1, 2, 0.5), 1.2, 3, 4.3),
    Kind("lapsing", 0.15, 0.55, (65, 14, 16, 3, 2), (2, 3, 3, 1, 3, 2, 2, 2), 0.9, 17, 2.4, ends=0.55),
)

#: Categories: name, median price, and nouns for titles.
CATEGORIES: dict[Language, tuple[tuple[str, float, tuple[str, ...]], ...]] = {
    "en": (
        ("phones", 2500, ("phone", "earbuds", "charger", "tablet", "smart watch")),
        ("clothes", 180, ("jacket", "jeans", "shirt", "dress", "coat")),
        ("food", 35, ("coffee", "tea", "noodles", "nuts", "olive oil")),
        ("baby", 120, ("nappies", "milk powder", "pram", "bottle", "wipes")),
        ("home", 220, ("lamp", "chair", "pan", "bedding", "shelf")),
        ("beauty", 150, ("serum", "lipstick", "mask", "shampoo", "perfume")),
        ("books", 45, ("novel", "atlas", "cookbook", "comic", "textbook")),
        ("sport", 300, ("bicycle", "racket", "yoga mat", "running shoes", "dumbbell")),
    ),
    "zh": (
        ("手机数码", 2500, ("手机", "耳机", "充电器", "平板", "智能手表")),
        ("服装", 180, ("外套", "牛仔裤", "衬衫", "连衣裙", "大衣")),
        ("食品", 35, ("咖啡", "茶叶", "方便面", "坚果", "橄榄油")),
        ("母婴", 120, ("纸尿裤", "奶粉", "婴儿车", "奶瓶", "湿巾")),
        ("家居", 220, ("台灯", "椅子", "炒锅", "四件套", "置物架")),
        ("美妆", 150, ("精华", "口红", "面膜", "洗发水", "香水")),
        ("图书", 45, ("小说", "地图集", "菜谱", "漫画", "教材")),
        ("运动", 300, ("自行车", "球拍", "瑜伽垫", "跑鞋", "哑铃")),
    ),
}
BRANDS: dict[Language, tuple[str, ...]] = {
    "en": ("Northwind", "Bluebird", "Oakline", "Kestrel", "Marigold", "Tern", "Juniper", "Halcyon"),
    "zh": ("云帆", "青禾", "木棉", "星野", "知味", "小鹿", "山海", "晴川"),
}
STYLES: dict[Language, tuple[str, ...]] = {
    "en": ("classic", "light", "large", "new", "organic", "travel", "family", "pro"),
    "zh": ("经典", "轻便", "大号", "新款", "有机", "便携", "家用", "专业"),
}
#: Texts of reviews by stars: 1 and 2; 3; 4 and 5.
REVIEWS: dict[Language, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "en": (
        (
            "Broke after two days 😡",
            "Not as described, sent it back",
            "Bad smell, poor quality",
            "Never again, slow delivery",
        ),
        ("It is all right for the price", "Average, nothing special", "Works, but the box was open", "So so 😐"),
        (
            "Love it, will buy again 👍",
            "Great quality, quick delivery",
            "My family likes it ❤️",
            "Better than I hoped, worth it",
        ),
    ),
    "zh": (
        ("用了两天就坏了😡", "和描述不符，已经退货", "味道很大，质量差", "再也不买了，物流太慢"),
        ("这个价格还可以", "一般般，没什么特别", "能用，但是包装破了", "凑合吧😐"),
        ("很喜欢，下次再来👍", "质量很好，物流很快", "家里人都喜欢❤️", "比想象的好，值得买"),
    ),
}
