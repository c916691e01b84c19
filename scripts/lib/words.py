"""Checks the words of the project by the rules of docs/writing.md: comments, messages, documents, test names, commits."""

import json
import re
import subprocess
import sys

# A comment begins with its subject or with an imperative verb.
RIDDLE_START = re.compile(r"(What|Who|Whoever|Whose|That|Whether|Which|It)\b(?!-)")

# Words that docs/writing.md replaces by the field's own.
WORDS = re.compile(
    r"\b(anew|begun|(?:go|goes|going|gone|went)\s+by|told|tells?|telling|mend|mends|mended|mending|"
    r"(?:is|are|was|were)\s+to\s+be|whoever|whence|of before|look(?:s|ed|ing)?\s+at|for[ -]ever|no news|"
    r"in the stead|over-?ruled|hand(?:s|ed)? in)\b",
    re.IGNORECASE,
)

SUBJECT_CHARS_MAX = 72
SUBJECT_FORM = re.compile(r"[\w./, -]+: \S")
# The commit that added this file: older subjects stay as they are.
SINCE = "scripts/lib/words.py"

# Path prefix and the kinds that are not checked below it. At most ten lines; each has a reason.
EXCEPTIONS = {
    "crates/gotemplate/tests/corpus/": ("text",),  # what Go itself prints
    "crates/proxy/src/": ("comment", "name"),  # rebuilt with the data plane's new layout
    "tests/e2e/tests/lint.rs": ("text",),  # samples of violations
}

SCRIPT = re.compile(r"^(scripts/|\.ci/|.*\.(sh|py|toml|service|conf|ya?ml)$|.*(Dockerfile|Vagrantfile)$)")

RUST_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|r(#*)"(?:.|\n)*?"\1|"(?:[^"\\]|\\.|\\\n)*"|\'(?:[^\'\\]|\\.)\'', re.DOTALL
)
TEST_NAME = re.compile(
    r"#\[(?:\w+::)?r?test\b[^\n]*\n(?:\s*(?:#\[|//)[^\n]*\n)*\s*(?:pub(?:\([^)]*\))? )?(?:async )?fn (\w+)"
)


def rust_parts(text):
    """Yields (kind, line, text) of each comment, string and test name of a Rust file. Adjacent comment lines are one."""
    line, position, block = 1, 0, None
    for token in RUST_TOKEN.finditer(text):
        line += text.count("\n", position, token.start())
        position, piece = token.start(), token.group()
        if piece.startswith("//"):
            mark, words = re.match(r"(//[/!]?)\s?(.*)", piece).groups()
            is_alone = text[text.rfind("\n", 0, position) + 1 : position].strip() == ""
            if block and is_alone and block[:2] == [line - 1, mark] and words:
                block[0], block[3] = line, block[3] + " " + words
                continue
            if block:
                yield "comment", block[2], block[3]
            block = [line if is_alone else -1, mark, line, words]
            continue
        if piece.startswith("/*"):
            yield "comment", line, piece.strip("/*! \n")
        elif '"' in piece:
            yield "text", line, piece
    if block:
        yield "comment", block[2], block[3]
    for name in TEST_NAME.finditer(text):
        yield "name", text.count("\n", 0, name.start(1)) + 1, name.group(1).replace("_", " ").capitalize()


def script_parts(text):
    """Yields the comments of a script or a TOML file, and the texts that a script prints."""
    block = None
    for line, row in enumerate(text.split("\n"), 1):
        words = re.match(r"\s*#(?!!)\s?(.*)", row)
        if words and block and words.group(1):
            block[1] += " " + words.group(1)
            continue
        if block:
            yield "comment", *block
        block = [line, words.group(1)] if words else None
        if not words:
            for printed in re.findall(r"\b(?:echo|say|print) [\"']([^\"']*)", row):
                yield "text", line, printed
    if block:
        yield "comment", *block


def document_parts(text):
    """Yields the paragraphs of a document, without code."""
    fenced, paragraph = False, None
    for line, row in enumerate([*text.split("\n"), ""], 1):
        if row.lstrip().startswith("```"):
            fenced = not fenced
        is_text = not fenced and row.strip() and not row.lstrip().startswith("```")
        if is_text and paragraph and not re.match(r"\s*([-*|#]|\d+\.)", row):
            paragraph[1] += " " + row
            continue
        if paragraph:
            yield "text", paragraph[0], re.sub(r"`[^`]*`", "", paragraph[1])
        paragraph = [line, row] if is_text else None


def parts(path, text):
    if path.endswith(".rs"):
        return rust_parts(text)
    if path.endswith(".md"):
        return document_parts(text)
    return script_parts(text) if SCRIPT.match(path) else ()


def violations(path, text):
    exempt = {kind for prefix, kinds in EXCEPTIONS.items() if path.startswith(prefix) for kind in kinds}
    for kind, line, words in parts(path, text):
        if kind in exempt:
            continue
        start = kind != "text" and RIDDLE_START.match(words.lstrip("*` "))
        if start:
            yield f"{path}:{line}: {kind} begins with {start.group()}: {words.strip()[:100]}"
        for word in WORDS.finditer(words):
            around = words[max(0, word.start() - 40) : word.end() + 40]
            yield f"{path}:{line}: {word.group()!r}: … {' '.join(around.split())} …"


def git(*args):
    done = subprocess.run(["git", *args], capture_output=True, check=False)
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def subjects():
    """The subjects of the commits since this check exists."""
    first = (git("log", "--diff-filter=A", "--format=%H", "--", SINCE) or "").split()
    rows = git("log", "--no-merges", "--format=%h %s", f"{first[-1]}..HEAD") if first else ""
    for row in (rows or "").splitlines():
        commit, _, subject = row.partition(" ")
        if len(subject) > SUBJECT_CHARS_MAX:
            yield f"commit {commit}: {len(subject)} characters in the subject: {subject}"
        if not SUBJECT_FORM.match(subject):
            yield f"commit {commit}: the subject is not `area: imperative`: {subject}"


def main():
    options = sys.argv[1:]
    if set(options) - {"--json"}:
        sys.exit("usage: ./scripts/lint words [--json]")
    listed = git("ls-files", "-z", "-co", "--exclude-standard")
    if listed is None:
        sys.exit("lint words: this is not a git repository; run it in a clone")
    found, files = list(subjects()), 0
    for path in sorted(filter(None, listed.split("\0"))):
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (UnicodeDecodeError, OSError):
            continue
        files += 1
        found += violations(path, text)
    if "--json" in options:
        print(json.dumps({"files": files, "violations": len(found)}, separators=(",", ":")))
    else:
        print("\n".join([*found, f"{files} files, {len(found)} violations"]))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
