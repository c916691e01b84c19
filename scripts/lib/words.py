"""Checks the words of the project by the rules of docs/writing.md: comments, messages, documents, test names, commits."""

import json
import re
import subprocess
import sys

# A comment begins with its subject or with an imperative verb.
RIDDLE_START = re.compile(r"(What|Who|Whoever|Whose|That|Whether|Which|It)\b(?!-)")

# Words of which docs/writing.md gives the field's own.
WORDS = re.compile(
    r"\b(anew|(?:go|goes|going|gone|went) by|told|tells|mend|mends|mended|mending|(?:is|are|was|were) to be|whoever|"
    r"whence|of before|look(?:s|ed|ing)? at|for ever|no news|in the stead|begun|over-?ruled)\b",
    re.IGNORECASE,
)

SUBJECT_CHARS_MAX = 72
# The commit that added this file: older subjects stay as they are.
SINCE = "scripts/lib/words.py"

# Path prefix and the kinds that are not checked below it. At most ten lines; each has a reason.
EXCEPTIONS = {
    "crates/gotemplate/tests/corpus/": ("text",),  # what Go itself prints
    "crates/proxy/src/": ("comment", "name"),  # rebuilt with the data plane's new layout
    "tests/e2e/tests/lint.rs": ("text",),  # samples of violations
}

SCRIPT = re.compile(r"^(scripts/|\.ci/|.*\.(sh|py|toml|service|conf)$|.*(Dockerfile|Vagrantfile)$)")


def rust_parts(text):
    """Yields (kind, line, text) of each comment, string and test name of a Rust file. Adjacent comment lines are one."""
    line, i, comment = 1, 0, None
    for token in re.finditer(
        r'//[^\n]*|/\*.*?\*/|r(#*)"(?:.|\n)*?"\1|"(?:[^"\\]|\\.|\\\n)*"|\'(?:[^\'\\]|\\.)\'|\n', text, re.DOTALL
    ):
        line += text.count("\n", i, token.start())
        i, piece = token.start(), token.group()
        if piece.startswith("//"):
            mark, words = re.match(r"(//[/!]?)\s?(.*)", piece).groups()
            is_alone = text[text.rfind("\n", 0, token.start()) + 1 : token.start()].strip() == ""
            continues = comment and is_alone and comment == (line - 1, mark) and words
            yield ("continued" if continues else "comment"), line, words
            comment = (line, mark) if is_alone and words else None
        elif piece.startswith(('"', "r")) and '"' in piece:
            for offset, row in enumerate(piece.split("\n")):
                yield "text", line + offset, row
    for name in re.finditer(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)", text):
        yield "name", text.count("\n", 0, name.start(1)) + 1, name.group(1).replace("_", " ")


def script_parts(text):
    """Yields the comments of a script or a TOML file."""
    previous = None
    for line, row in enumerate(text.split("\n"), 1):
        words = re.match(r"\s*#(?!!)\s?(.*)", row)
        if words:
            yield ("continued" if previous else "comment"), line, words.group(1)
        previous = words and words.group(1)


def document_parts(text):
    """Yields the lines of a document, without code."""
    fenced = False
    for line, row in enumerate(text.split("\n"), 1):
        if row.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield "text", line, re.sub(r"`[^`]*`", "", row)


def parts(path, text):
    if path.endswith(".rs"):
        return rust_parts(text)
    if path.endswith(".md"):
        return document_parts(text)
    return script_parts(text) if SCRIPT.match(path) else ()


def violations(path, text):
    exempt = {kind for prefix, kinds in EXCEPTIONS.items() if path.startswith(prefix) for kind in kinds}
    for kind, line, words in parts(path, text):
        if ("comment" if kind == "continued" else kind) in exempt:
            continue
        start = kind in ("comment", "name") and RIDDLE_START.match(words if kind == "comment" else words.capitalize())
        if start:
            yield f"{path}:{line}: {kind} begins with {start.group()}: {words.strip()}"
        word = WORDS.search(words)
        if word:
            yield f"{path}:{line}: {word.group()!r}: {words.strip()}"


def subjects():
    """The subjects of the commits since this check exists."""
    git = lambda *args: subprocess.run(["git", *args], capture_output=True, text=True, check=True).stdout.split("\n")
    first = [line for line in git("log", "--diff-filter=A", "--format=%H", "--", SINCE) if line]
    for row in git("log", "--no-merges", "--format=%h %s", f"{first[-1]}..HEAD") if first else []:
        commit, _, subject = row.partition(" ")
        if len(subject) > SUBJECT_CHARS_MAX:
            yield f"commit {commit}: {len(subject)} characters in the subject: {subject}"


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True)
    found, files = list(subjects()), 0
    for path in sorted(listed.stdout.splitlines()):
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        files += 1
        found += violations(path, text)
    if "--json" in sys.argv[1:]:
        print(json.dumps({"files": files, "violations": len(found)}, separators=(",", ":")))
    else:
        print("\n".join([*found, f"{files} files, {len(found)} violations"]))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
