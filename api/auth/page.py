"""The sign-in page: one form, one style sheet, no script."""

from html import escape
from pathlib import Path
from string import Template

from domain.kernel import Language, Text

FOLDER = Path(__file__).parent
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

TITLE = Text("登录 Sortie", "Sign in to Sortie")
EMAIL, PASSWORD = Text("邮箱", "E-mail address"), Text("密码", "Password")
SIGN_IN, SIGN_OUT = Text("登录", "Sign in"), Text("退出登录", "Sign out")
ELSEWHERE = Text("用公司账号登录", "Sign in with your company account")
SIGNED_IN = Text("您已登录：", "You are signed in: ")
GO_ON = Text("继续", "Go on")
NO_WAY = Text(
    "本系统没有配置登录方式，请向管理员索取令牌。",
    "No way to sign in is set up here: ask your administrator for a token.",
)

_PAGE = Template(
    """<!doctype html>
<html lang="$lang">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>$title</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="/auth/sign-in.css" />
  </head>
  <body>
    <main>
      <h1>$title</h1>
      $body
    </main>
  </body>
</html>
"""
)
_FORM = Template(
    """<form method="post" action="/auth/sign-in">
        <input type="hidden" name="next" value="$goal" />
        <label>$email_label<input type="email" name="email" value="$email" autocomplete="username" required autofocus /></label>
        <label>$password_label<input type="password" name="password" autocomplete="current-password" required /></label>
        <button type="submit">$sign_in</button>
      </form>"""
)


def sign_in_page(
    language: Language, *, goal: str, email: str, problem: str, signed_in: str | None, passwords: bool, provider: str | None
) -> str:  # fmt: skip
    """The page in a language: who is signed in, the ways to sign in that there are, and what was wrong the last time."""

    def say(text: Text) -> str:
        return escape(text.words(language))

    parts = [f'<p role="alert">{escape(problem)}</p>'] if problem else []
    if signed_in is not None:
        parts.append(f"<p>{say(SIGNED_IN)}<strong>{escape(signed_in)}</strong></p>")
        parts.append(f'<p><a href="{escape(goal)}">{say(GO_ON)}</a></p>')
        parts.append(
            f'<form method="post" action="/auth/sign-out"><button type="submit">{say(SIGN_OUT)}</button></form>'
        )
    if passwords:
        parts.append(
            _FORM.substitute(
                goal=escape(goal), email=escape(email), email_label=say(EMAIL), password_label=say(PASSWORD), sign_in=say(SIGN_IN),
            )
        )  # fmt: skip
    if provider is not None:
        parts.append(f'<p><a class="button" href="{escape(provider)}">{say(ELSEWHERE)}</a></p>')
    if not passwords and provider is None:
        parts.append(f"<p>{say(NO_WAY)}</p>")
    lang = "zh-CN" if language is Language.ZH else "en"
    return _PAGE.substitute(lang=lang, title=say(TITLE), body="\n      ".join(parts))
