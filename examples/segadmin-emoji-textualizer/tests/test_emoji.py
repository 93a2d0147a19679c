from segadmin_emoji_textualizer import Emoji

from segadmin.testing import check_textualizer


def test_it_keeps_the_contract() -> None:
    check_textualizer(Emoji())
