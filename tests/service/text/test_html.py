"""HTML in, HTML out: text is translated and every byte of the markup stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.html import escaped, pieces
from tests.service.text.driving import lossy, translated

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><title>My page</title><style>p { color: red }</style>
<script>if (a < b && c) { alert("<p>hello</p>"); }</script></head>
<body class='a  b' data-x=1>
  <!-- a comment -->
  <p>Hello <b>big world</b>.  It is late.</p>
  <ul><li>one<li>two &amp; three</ul>
  <img src="x.png" alt="a small dog" title='it&#39;s &lt;old&gt;'><br/>
  <pre>a b
    c d</pre><input placeholder=Name value="v"><p translate=no>Keep <i>this</i></p>
</body>
</html>
"""
TRANSLATED = """<!DOCTYPE html>
<html lang="en">
<head><title>MY PAGE</title><style>p { color: red }</style>
<script>if (a < b && c) { alert("<p>hello</p>"); }</script></head>
<body class='a  b' data-x=1>
  <!-- a comment -->
  <p>HELLO <b>BIG WORLD</b>.  IT IS LATE.</p>
  <ul><li>ONE<li>TWO &amp; THREE</ul>
  <img src="x.png" alt="A SMALL DOG" title='IT&#39;S &lt;OLD&gt;'><br/>
  <pre>A B
    C D</pre><input placeholder="NAME" value="v"><p translate=no>Keep <i>this</i></p>
</body>
</html>
"""


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (PAGE, TRANSLATED),
        (PAGE.replace("\n", "\r\n"), TRANSLATED.replace("\n", "\r\n")),
        ("<p>Tom &amp; Jerry &lt;3 &copy;</p>", "<p>TOM &amp; JERRY &lt;3 ©</p>"),
        ("12&nbsp;%", "12&nbsp;%"),
        ("Go <b>home</b> now", "GO <b>HOME</b> NOW"),
        ("Go <br>home", "GO <br>HOME"),
        ("by <b translate='no'>Acme Inc</b> today", "BY <b translate='no'>Acme Inc</b> TODAY"),
        ("by <b class='x notranslate'>Acme</b>", "BY <b class='x notranslate'>Acme</b>"),
        ("<p translate=no>a <b translate=yes>b</b>", "<p translate=no>a <b translate=yes>B</b>"),
        ("x <script>var a = 'b c';</script> y", "X <script>var a = 'b c';</script> Y"),
        ("<my-tag>word</my-tag> and", "<my-tag>WORD</my-tag> AND"),
        ("<P>Word</p><BR>", "<P>WORD</p><BR>"),
        ("hello <b", "HELLO <b"),
        ("1 < 2 and a > b", "1 &lt; 2 AND A &gt; B"),
        ("<td>{name}</td><td>%s left</td>", "<td>{name}</td><td>%s LEFT</td>"),
        ("<textarea>a\nb</textarea>", "<textarea>A\nB</textarea>"),
        ("<i class=icon></i> open", "<i class=icon></i> OPEN"),
        ("<button title='a \"b\"'>ok</button>", "<button title='A &quot;B&quot;'>OK</button>"),
        ("<option value='a b'>one</option>", "<option value='a b'>ONE</option>"),
        ("", ""),
        ("<hr>", "<hr>"),
    ],
)  # fmt: skip
def test_what_comes_of_html(html, expected):
    assert translated(html, str.upper, html=True).drafts[0].text == expected


def test_a_page_survives_a_translator_that_loses_everything():
    answer = translated(PAGE, lossy, html=True).drafts[0].text
    assert [piece.tag for piece in pieces(answer)] == [piece.tag for piece in pieces(PAGE)]


def test_sentences_go_on_over_tags_in_them_and_end_at_others():
    asked = []
    found = translated("<p>One <b>two. Three</b> four</p><p>five", asked=asked, html=True)
    assert found.sentences == 3
    assert asked[0] == ["One two.", "two.", "Three four", "Three", "five"]


def test_entities_are_read_as_characters():
    asked = []
    translated("<p>Caf&eacute; &amp; bar&#33;</p>", asked=asked, html=True)
    assert asked == [["Café & bar!"]]


@given(st.text(alphabet=st.sampled_from("ab<>/&;=\"'! -p\n"), max_size=40))
def test_pieces_are_the_whole_source(html):
    assert "".join(piece.source for piece in pieces(html)) == html


@given(st.text(alphabet=st.sampled_from("ab<>/&;=\"'! -pi\n"), max_size=40))
def test_no_markup_makes_it_fail(html):
    assert isinstance(translated(html, html=True).drafts[0].text, str)


@given(st.text(max_size=30))
def test_text_is_escaped_so_that_it_reads_as_it_was(text):
    from turbohtml import unescape

    assert unescape(escaped(text.replace("&", ""))) == text.replace("&", "")
