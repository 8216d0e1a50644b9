#!/usr/bin/python3
"""Writes what Jinja itself makes of the templates here: the .expected.txt files that the tests compare with.

The environment is the one that chat templates are written for: sandboxed, trim_blocks, lstrip_blocks, loop controls,
tojson as json.dumps without escapes. Needs python3-jinja2. Records are separated by a line of %%%%.
"""
import datetime
import json
import pathlib

from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
SEPARATOR = "\n%%%%\n"
NOW = datetime.datetime.fromtimestamp(1700000000, datetime.timezone.utc)
CONVERSATIONS = [
    [("user", "Hello")],
    [("system", " You are kind. \n"), ("user", "  Hi \u00e9 \U0001f44d ")],
    [("user", "a"), ("assistant", "b"), ("user", "c")],
    [("system", "s"), ("user", "a"), ("assistant", "<think>\nhmm\n</think>\n\nb"), ("user", "c"),
     ("assistant", "<think>\nx\n</think>\n\nlast")],
    [("user", "q"), ("assistant", "one"), ("assistant", "two")],
    [("user", "{{ x }} {% if %} \"quotes\" \\ <|im_end|>\n\n")],
    [("wizard", "hm")],
    [],
]


def environment():
    e = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    e.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    e.globals["strftime_now"] = NOW.strftime

    def refuse(message):
        raise ValueError(message)

    e.globals["raise_exception"] = refuse
    return e


def render(source, messages, generate, **more):
    try:
        return environment().from_string(source).render(
            messages=[{"role": r, "content": c} for r, c in messages], add_generation_prompt=generate,
            bos_token="<s>", eos_token="</s>", tools=None, documents=None, **more)
    except Exception:
        return "ERROR"


def main():
    for name in ("thinking_style", "header_style"):
        source = (HERE / f"{name}.jinja").read_text()
        out = []
        for messages in CONVERSATIONS:
            for generate in (False, True):
                for more in ({}, {"enable_thinking": False, "date_string": "26 Jul 2024"}):
                    out.append(render(source, messages, generate, **more))
        (HERE / f"{name}.expected.txt").write_text(SEPARATOR.join(out) + "\n", newline="")
    snippets = (HERE / "snippets.txt").read_text()[:-1].split(SEPARATOR)
    out = [render(s, [], False) for s in snippets]
    (HERE / "snippets.expected.txt").write_text(SEPARATOR.join(out) + "\n", newline="")


main()
