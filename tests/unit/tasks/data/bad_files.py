"""Recipes, files, templates, tokenizers and whole sets of rows that cannot be used, in one table."""

import gzip
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import zstandard

from infra.errors import BadData, BadModel, BadRecipe, BadTemplate, LuthierError
from tests.unit.tasks.data.bad_rows import ANSWER, CALLED, answered, lines, said, stream, table


class Bad(NamedTuple):
    """An input: the files as they lie, the recipe's fields, the error with its place and words of the reason (or the
    value) and of the remedy, and where it is seen: reading the recipe, before anything runs (step), or at work.

    `silent` marks errors that have no value to tell, `limits` are lowered so that the files can be small.
    """

    name: str
    files: Mapping[str, bytes]
    fields: Mapping[str, Any]
    error: type[LuthierError]
    place: str
    reason: str
    remedy: str
    seen: str = "work"
    tokenizer: str = ""
    limits: Mapping[str, float] = {}
    silent: bool = False


ROWS = lines([b'{"prompt": "What is %d?", "completion": "a number"}' % number for number in range(20)])
TALKS = lines([said(("user", f"What is {number}?"), ("assistant", "a number")) for number in range(20)])
TEXTS = stream([b'{"text": "A text of %d."}' % number for number in range(20)])
PLAIN, CHATS = {"rows.jsonl": ROWS}, {"rows.jsonl": TALKS}
TEMPLATE = {"chat_template": "own.jinja"}
TEMPLATED = "a Jinja file, or"


def packed(columns: Mapping[str, Any]) -> bytes:
    """Parquet, packed."""
    made = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), made, use_dictionary=False)
    return made.getvalue()


def template(text: str) -> dict[str, bytes]:
    return {"rows.jsonl": TALKS, "own.jinja": text.encode()}


def recipe(name: str, fields: Mapping[str, Any], place: str, reason: str, remedy: str) -> Bad:
    """A section that is refused as the recipe is read; the rows are good."""
    return Bad(name, PLAIN, fields, BadRecipe, f"data{place}", reason, remedy, "recipe", silent=not reason)


def file(name: str, file: str, data: bytes, place: str, reason: str, remedy: str, **more: Any) -> Bad:
    """A file that is refused when it is read."""
    return Bad(name, {file: data}, {}, BadData, place, reason, remedy, **more)


SOURCE = {"files": ["rows.jsonl"]}
# fmt: off
INPUTS = [
    # The recipe
    recipe("a field that does not exist", {"max_len": 8}, ".max_len", "8", "did you mean max_length"),
    recipe("no rows", {"train_files": []}, ".train_files", "[]", "at least 1 item"),
    recipe("rows that are no list", {"train_files": 7}, ".train_files", "7", "valid list"),
    recipe("a file that is a number", {"train_files": [7]}, ".train_files.0", "7", "valid string"),
    recipe("an entry without files", {"train_files": [{"weight": 2}]}, ".train_files.0.files", "", "required"),
    recipe("an entry of no files", {"train_files": [{"files": []}]}, ".train_files.0.files", "[]", "at least 1 item"),
    recipe("an entry with a field that does not exist", {"train_files": [SOURCE | {"wieght": 2}]}, ".train_files.0.wieght", "2", "did you mean weight"),
    recipe("a weight of 0", {"train_files": [SOURCE | {"weight": 0}]}, ".train_files.0.weight", "0", "greater than 0"),
    recipe("a source of no rows", {"validation_files": [SOURCE | {"max_rows": 0}]}, ".validation_files.0.max_rows", "0", "greater than or equal to 1"),
    recipe("a source of an unknown role", {"train_files": [SOURCE | {"roles": {"Bot": "robot"}}]}, ".train_files.0.roles", "Bot", "there is no role robot; roles are system, user"),
    recipe("all rows held out", {"validation_split": 1}, ".validation_split", "1", "less than 1"),
    recipe("an unknown layout", {"format": "vicuna"}, ".format", "vicuna", "'messages', 'sharegpt'"),
    recipe("a column for no field", {"columns": {"question": "q"}}, ".columns", "question", "no layout has the field question; fields are"),
    recipe("a column that is a list", {"columns": {"prompt": ["q"]}}, ".columns.prompt", "['q']", "valid string"),
    recipe("one column for two fields", {"columns": {"prompt": "q", "completion": "q"}}, ".columns", "q", "two fields cannot be held by one column"),
    recipe("an unknown role", {"roles": {"Bot": "robot"}}, ".roles", "robot", "there is no role robot; roles are"),
    recipe("a row template that is no Jinja", {"row_templates": {"prompt": "{{ question"}}, ".row_templates.prompt", "{{ question", "line 1: "),
    recipe("a row template that reads files", {"row_templates": {"prompt": "{% include '/etc/passwd' %}"}}, ".row_templates.prompt", "include", "include is not for row templates"),
    recipe("a row template that calls anything", {"row_templates": {"prompt": "{{ q.format(x) }}"}}, ".row_templates.prompt", "format", "only range() and these methods"),
    recipe("a row template of messages", {"row_templates": {"messages": "{{ q }}"}}, ".row_templates", "messages", "no template can write the field messages; it can write"),
    recipe("a field made twice", {"columns": {"prompt": "q"}, "row_templates": {"prompt": "{{ q }}"}}, "", "", "both make the field prompt"),
    recipe("sequences of 4 tokens", {"max_length": 4}, ".max_length", "4", "greater than or equal to 8"),
    recipe("packing of another kind", {"packing": "greedy"}, ".packing", "greedy", "valid boolean"),
    recipe("a weight of prompts above 1", {"prompt_loss_weight": 2}, ".prompt_loss_weight", "2", "less than or equal to 1"),
    recipe("nobody to learn", {"roles_to_train": []}, ".roles_to_train", "[]", "at least 1 item"),
    recipe("a stranger to learn", {"roles_to_train": ["gpt"]}, ".roles_to_train.0", "gpt", "'assistant', 'user'"),
    recipe("an unknown end of long rows", {"overlong": "wrap"}, ".overlong", "wrap", "'drop', 'truncate' or 'split'"),
    recipe("copies that share nothing", {"near_duplicates": 0.1}, ".near_duplicates", "0.1", "greater than or equal to 0.5"),
    recipe("an expression that is none", {"filters": {"exclude": ["(a"]}}, ".filters.exclude", "(a", "no regular expression of RE2"),
    recipe("an expression that looks ahead", {"filters": {"include": ["a(?=b)"]}}, ".filters.include", "(?=", "all of Python's but look-around"),
    recipe("an unknown language", {"filters": {"languages": ["klingon"]}}, ".filters.languages", "klingon", "no language has the code klingon; codes are"),
    recipe("a length that no row has", {"filters": {"min_characters": 9, "max_characters": 8}}, ".filters", "", "max_characters is below min_characters"),
    recipe("certainty of no language", {"filters": {"min_language_confidence": 0.9}}, ".filters", "", "needs languages"),
    recipe("an unknown way with secrets", {"sensitive": "hide"}, ".sensitive", "hide", "'redact' or 'drop'"),
    recipe("an unknown way with questions", {"decontamination": True}, ".decontamination", "True", "'off', 'report' or 'drop'"),
    recipe("questions of 2 words", {"decontamination_ngram": 2}, ".decontamination_ngram", "2", "greater than or equal to 5"),
    recipe("bad rows in percent", {"max_bad_rows": 5}, ".max_bad_rows", "5", "less than or equal to 1"),
    recipe("no process", {"num_proc": 0}, ".num_proc", "0", "greater than or equal to 1"),
    recipe("a seed in words", {"seed": "lucky"}, ".seed", "lucky", "valid integer"),
    # What the recipe names
    Bad("a file that is not there", {}, {"train_files": ["none.jsonl"]}, BadRecipe, "data.train_files", "none.jsonl", "relative to the recipe's folder", "step"),
    Bad("a glob of nothing", {}, {"train_files": ["*.jsonl"]}, BadRecipe, "data.train_files", "nothing matches", "relative to the recipe's folder", "step"),
    Bad("a folder of hidden files", {"rows/.cache.jsonl": ROWS}, {"train_files": ["rows"]}, BadRecipe, "data.train_files", "nothing matches", "relative", "step"),
    Bad("a held-out file that is not there", PLAIN, {"validation_files": ["held.jsonl"]}, BadRecipe, "data.validation_files", "held.jsonl", "relative to the recipe's folder", "step"),
    Bad("a workbook", {"rows.xlsx": b"PK"}, {}, BadRecipe, "data.train_files", "this kind of file is not known", ".jsonl", "step"),
    Bad("a packed Parquet file", {"rows.parquet.gz": b""}, {}, BadRecipe, "data.train_files", "rows.parquet.gz", "one of the texts among these with .gz", "step"),
    Bad("a folder with a picture", {"rows/a.jsonl": ROWS, "rows/b.png": b""}, {"train_files": ["rows"]}, BadRecipe, "data.train_files", "b.png", "by a glob if others lie beside", "step"),
    Bad("a package that is not installed", {}, {"train_files": ["package://no_such_rows/a.jsonl"]}, BadRecipe, "data.train_files", "no_such_rows", "pip install --no-deps no-such-rows", "step"),
    Bad("a template that does not ship", CHATS, {"chat_template": "chatlm"}, BadRecipe, "data.chat_template", "chatlm", "chatml", "step"),
    # Files
    file("an empty file", "rows.jsonl", b"", "rows.jsonl", "no rows", "remove it from the recipe", silent=True),
    file("a file of blank lines", "rows.jsonl", b"\n \n\n", "rows.jsonl", "no rows", "remove it", silent=True),
    file("lines of UTF-16", "rows.jsonl", ROWS.decode().encode("utf-16"), "rows.jsonl:1", "is not UTF-8", "mend or remove"),
    file("lines of other columns", "rows.jsonl", b'{"ask": "q", "reply": "a"}\n' * 3, "rows.jsonl:1", "accepted: messages", "columns of other names in data.columns"),
    Bad("pairs among other lines", {"rows.jsonl": ROWS + b'{"prompt": "q", "chosen": "a", "rejected": "b"}\n'}, {}, BadData, "data.train_files", "1 pairs, 0 answers with a label, 20 other rows", "give each kind a recipe of its own"),
    file("lines of which one in ten is bad", "rows.jsonl", ROWS + b"{\n{\n", "rows.jsonl:21", "2 of 22 rows cannot be used", "data.max_bad_rows"),
    file("lines whose answers all weigh 0", "rows.jsonl", lines([answered(weight=0)] * 3), "rows.jsonl:1", "no message has a weight above 0", "mend or remove"),
    file("an empty .json", "rows.json", b"", "rows.json:1", "is not JSON (it is empty)", "one list of rows", silent=True),
    file("an empty list", "rows.json", b"[]", "rows.json", "no rows", "remove it from the recipe", silent=True),
    file("an object of rows", "rows.json", b'{"rows": []}', "rows.json", '{"rows"', "write a list of objects"),
    file("lines called .json", "rows.json", ROWS, "rows.json", "holds no list", "one object a line as .jsonl"),
    file("a list that was cut", "rows.json", b'[{"text": "a"},\n{"text": "b"', "rows.json:2", "is not JSON", "one list of rows", silent=True),
    file("a list without its end", "rows.json", b'[{"text": "a"}\n', "rows.json:2", "its end is missing", "one list of rows", silent=True),
    file("a list with more behind it", "rows.json", b'[{"text": "a"}]\n[]', "rows.json:2", "more behind the list", "one list", silent=True),
    file("a list of Latin-1", "rows.json", b'[{"text": "Stra\xdfe"}]', "rows.json:1", "is not UTF-8", "one list of rows", silent=True),
    file("a list of a row that is too long", "rows.json", b'[{"text": "' + b"x" * 3000 + b'"}', "rows.json:1", "a row is longer than", "one list of rows", limits={"lines.MAX_LINE": 1000, "lines.BUFFER": 500}, silent=True),
    file("an empty table", "rows.csv", b"", "rows.csv", "no rows", "remove it", silent=True),
    file("a header alone", "rows.csv", b"prompt,completion\n", "rows.csv", "no rows", "remove it", silent=True),
    file("a table without a header", "rows.csv", b"What is 1?,a number\n", "rows.csv:1", "accepted: messages", "data.columns"),
    file("a header that repeats itself", "rows.csv", b"prompt,completion,prompt\nq,a,q\n", "rows.csv:1", "two columns of one name", "data.columns"),
    file("a quote that stays open", "rows.csv", b'prompt,completion\nq,a\n"q,a\nq,a\n', "rows.csv:3", "unexpected end of data", "quoting fields"),
    file("a quote within a field", "rows.csv", b'prompt,completion\n"q"x,a\n', "rows.csv:2", "',' expected after '\"'", "quoting fields"),
    file("a table of Latin-1", "rows.csv", b"prompt,completion\nq,a\nStra\xdfe,a\n", "rows.csv:3", "can't decode byte 0xdf", "save it as UTF-8"),
    file("a table of UTF-16", "rows.csv", "prompt,completion\nq,a\n".encode("utf-16"), "rows.csv:1", "can't decode", "save it as UTF-8"),
    file("a table of NUL bytes", "rows.csv", b"prompt,completion\nq,a\nq\0,a\n", "rows.csv:3", "NUL bytes", "save it as UTF-8"),
    file("a table of a row without end", "rows.csv", b'prompt,completion\n"' + b"x\n" * 2000, "rows.csv:2", "is a quote left open?", "quoting fields", limits={"lines.MAX_LINE": 1000}),
    file("commas in a .tsv", "rows.tsv", b"prompt,completion\nq,a\n", "rows.tsv:1", "accepted: messages", "data.columns"),
    file("a document of nothing", "rows.txt", b"", "rows.txt", "no rows", "remove it", silent=True),
    file("a document of Latin-1", "rows.txt", b"Stra\xdfe", "rows.txt", "is not UTF-8", "mend or remove"),
    file("a document of NUL bytes", "rows.md", b"# a\0b", "rows.md", "holds NUL bytes", "mend or remove"),
    file("a document that is too long", "rows.txt", b"x" * 2000, "rows.txt", "does not fit into memory", "cut it into documents", limits={"lines.MAX_DOCUMENT": 1000}, silent=True),
    file("a Parquet file of nothing", "rows.parquet", b"", "rows.parquet", "the Parquet file cannot be read", "written to its end"),
    file("a Parquet file that was cut", "rows.parquet", table([b"a"] * 99)[:-9], "rows.parquet", "the Parquet file cannot be read", "written to its end"),
    file("lines called Parquet", "rows.parquet", ROWS, "rows.parquet", "the Parquet file cannot be read", "written to its end"),
    file("a Parquet file of other columns", "rows.parquet", packed({"ask": ["q"]}), "rows.parquet", "accepted: messages", "data.columns"),
    file("a Parquet file without rows", "rows.parquet", table([]), "rows.parquet", "no rows", "remove it", silent=True),
    file("a Parquet file that unpacks to much", "rows.parquet", packed({"text": ["x" * 100_000]}), "rows.parquet", "unpacks to far more than rows do", "smaller row groups", limits={"columns.DENSE": 10, "columns.UNPACKED": 10_000}),
    file("an Arrow file of nothing", "rows.arrow", b"", "rows.arrow", "the Arrow file cannot be read", "written to its end"),
    file("an Arrow file that was cut", "rows.arrow", TEXTS[:-8], "rows.arrow", "its end is missing", "its writer closed"),
    file("an Arrow file of noise", "rows.arrow", TEXTS.replace(b"text", b"\xff\xff\xff\xff"), "rows.arrow", "the Arrow file cannot be read", "written to its end"),
    file("a feather file of version 1", "rows.feather", b"FEA1" + bytes(99), "rows.feather", "version 1 is not read", "version 2 is an Arrow file", silent=True),
    file("a .gz that is none", "rows.jsonl.gz", ROWS, "rows.jsonl.gz", "the file is no whole .gz", "pack it again"),
    file("a .gz that was cut", "rows.jsonl.gz", gzip.compress(ROWS)[:-9], "rows.jsonl.gz", "its end is missing", "pack it again"),
    file("a .gz with a flipped bit", "rows.jsonl.gz", gzip.compress(ROWS)[:-6] + b"\0" * 6, "rows.jsonl.gz", "incorrect", "pack it again"),
    file("a .gz of nothing", "rows.jsonl.gz", gzip.compress(b""), "rows.jsonl.gz", "no rows", "remove it", silent=True),
    file("a .gz that unpacks to much", "rows.jsonl.gz", gzip.compress(b"x" * 100_000), "rows.jsonl.gz", "unpacks to far more than rows do", "not packed", limits={"packed.UNPACKED": 1000, "packed.RATIO": 2}),
    file("a .zst that is none", "rows.jsonl.zst", ROWS, "rows.jsonl.zst", "the file is no whole .zst", "pack it again"),
    file("a .zst that was cut", "rows.jsonl.zst", zstandard.compress(ROWS)[:-9], "rows.jsonl.zst", "its end is missing", "pack it again"),
    file("a .zst that unpacks to much", "rows.json.zst", zstandard.compress(b"[" * 100_000), "rows.json.zst", "unpacks to far more than rows do", "not packed", limits={"packed.UNPACKED": 1000, "packed.RATIO": 2}),
    Bad("good files beside an empty one", {"rows/a.jsonl": ROWS, "rows/b.csv": b""}, {"train_files": ["rows"]}, BadData, "b.csv", "no rows", "remove it", silent=True),
    Bad("a file without the columns that are named", PLAIN, {"columns": {"completion": "answer"}}, BadData, "rows.jsonl:1", "lacks the column answer, which data.columns names", "data.columns"),
    Bad("a file of another layout than is named", PLAIN, {"format": "alpaca"}, BadData, "rows.jsonl:1", "has the columns completion, prompt", "data.format"),
    Bad("a file of two layouts", {"rows.csv": b"text,prompt,completion\nt,q,a\n"}, {}, BadData, "rows.csv:1", "data.format must say which", "data.format"),
    # Templates
    Bad("a template of a gigabyte", template("{{ 'a' * 10**9 }}"), TEMPLATE, BadTemplate, "data.chat_template", "for a conversation of", "mend its loops"),
    Bad("a template that doubles what it has", template("{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"), TEMPLATE, BadTemplate, "data.chat_template", "for a conversation of", "mend its loops"),
    Bad("a template that loops and writes nothing", template("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"), TEMPLATE, BadTemplate, "data.chat_template", "works for longer than", "mend its loops", limits={"infra.models.bounded.SECONDS": 0.2}),
    Bad("a template of a number without end", template("{{ 10 ** 10 ** 9 }}"), TEMPLATE, BadTemplate, "data.chat_template", "line 1", "write the number itself"),
    Bad("a template in Latin-1", CHATS | {"own.jinja": b"\xff"}, TEMPLATE, BadRecipe, "data.chat_template", "is not UTF-8", "save it as UTF-8"),
    Bad("a template that is no Jinja", template("{% if %}"), TEMPLATE, BadTemplate, "data.chat_template", "line 1", "mend it"),
    Bad("a template with a filter that does not exist", template("{{ messages | markdown }}"), TEMPLATE, BadTemplate, "data.chat_template", "No filter named 'markdown'", "mend it"),
    Bad("a template that includes another", template("{% include 'base.jinja' %}"), TEMPLATE, BadData, "rows.jsonl:1", "the chat template refuses it", "mend or remove"),
    Bad("a template of nothing", template(""), TEMPLATE, BadData, "rows.jsonl:1", "leaves out its content", "mend or remove"),
    Bad("a template that writes no contents", template("{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>{% endfor %}"), TEMPLATE, BadData, "rows.jsonl:1", "leaves out its content", "mend or remove"),
    Bad("a template that ends no turn", template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"), TEMPLATE, BadTemplate, "rows.jsonl:1, message 1", "no end-of-turn token", "{{ eos_token }}"),
    Bad("a template that is all answer", template("{% for m in messages if m.role == 'assistant' %}{{ m.content }}<|im_end|>{% endfor %}"), TEMPLATE, BadTemplate, "data.chat_template", "supervised share 100 %", "add_generation_prompt"),
    Bad("a template that puts the answer before the question", template("{% for m in messages | reverse %}{{ m.content }}<|im_end|>{% endfor %}"), TEMPLATE, BadTemplate, "rows.jsonl:1, message 1", "writes a turn differently", "data.chat_template"),
    Bad("a template of tokens that the tokenizer lacks", CHATS, {"chat_template": "llama3"}, BadTemplate, "data.chat_template", "<|eot_id|>", "the tokenizer's own"),
    Bad("tools that the template does not show", {"rows.jsonl": said(("user", "q"), ("assistant", "a"), tools=[{"name": "add"}]) + b"\n"}, {}, BadTemplate, "rows.jsonl:1", "leaves out the tools of a conversation", "chatml does"),
    Bad("reasoning that the template does not show", {"rows.jsonl": answered(reasoning_content="Hm, two and two.") + b"\n"}, {}, BadTemplate, "rows.jsonl:1, message 1", "leaves out the reasoning of an answer", "chatml does"),
    Bad("calls that the template does not show", {"rows.jsonl": json.dumps({"messages": [{"role": "user", "content": "q"}, CALLED, {"role": "tool", "content": "4"}, ANSWER]}).encode()}, {}, BadData, "rows.jsonl:1", "leaves out its call of 'add'", "mend or remove"),
    # The tokenizer
    Bad("no template for conversations", CHATS, {}, BadTemplate, "data.chat_template", "no chat template", TEMPLATED, tokenizer="no template", silent=True),
    Bad("no end of text", PLAIN, {}, BadModel, "base.model_name_or_path", "no EOS token", "set eos_token", tokenizer="no eos", silent=True),
    Bad("no tokens for infilling", {"a.txt": b"A text."}, {"fim_rate": 0.5}, BadModel, "data.fim_rate", "no tokens for infilling", "data.fim_rate: 0"),
    Bad("no tokenizer.json", PLAIN, {}, BadModel, "base.model_name_or_path", "the tokenizer cannot be loaded", "files of the base", tokenizer="no tokenizer.json"),
    Bad("a tokenizer.json that was cut", PLAIN, {}, BadModel, "base.model_name_or_path", "the tokenizer cannot be loaded", "files of the base", tokenizer="no JSON"),
    Bad("a tokenizer.json that is a list", PLAIN, {}, BadModel, "base.model_name_or_path", "the tokenizer cannot be loaded", "files of the base", tokenizer="another JSON"),
    Bad("a tokenizer_config.json that was cut", PLAIN, {}, BadModel, "base.model_name_or_path", "the tokenizer cannot be loaded", "files of the base", tokenizer="no settings"),
    Bad("no tokenizer", PLAIN, {}, BadModel, "base.model_name_or_path", "the tokenizer cannot be loaded", "files of the base", tokenizer="nothing"),
    # Whole sets
    Bad("rows that are all too long", PLAIN, {"max_length": 8}, BadData, "data.train_files", "20 dropped: {'longer than max_length': 20}", "raise data.max_length"),
    Bad("answers that all lie beyond", {"rows.jsonl": b'{"prompt": "What do you know of the violet printer?", "completion": "a"}\n'}, {"max_length": 8, "overlong": "truncate"}, BadData, "data.train_files", "its answer lies beyond max_length", "raise data.max_length"),
    Bad("rows that are all held out", PLAIN | {"held.jsonl": ROWS}, {"validation_files": ["held.jsonl"]}, BadData, "data.train_files", "also in the validation files", "take the rows of data.train_files out of data.validation_files"),
    Bad("an empty file of held-out rows", PLAIN | {"held.jsonl": b""}, {"validation_files": ["held.jsonl"]}, BadData, "held.jsonl", "no rows", "remove it", silent=True),
    Bad("held-out rows that are all bad", PLAIN | {"held.jsonl": b"{\n"}, {"validation_files": ["held.jsonl"]}, BadData, "held.jsonl:1", "1 of 21 rows cannot be used", "data.max_bad_rows"),
    Bad("rows that are all in the evaluation", PLAIN, {"decontamination": "drop"}, BadData, "data.train_files", "in the evaluation", "data.decontamination: report"),
    Bad("rows that are all too short", PLAIN, {"filters": {"min_characters": 999}}, BadData, "data.train_files", "shorter than 999 characters", "data.filters"),
    Bad("rows of which none is meant", PLAIN, {"filters": {"include": ["unicorn"]}}, BadData, "data.train_files", "nothing of filters.include", "data.filters"),
    Bad("rows of another language", PLAIN, {"filters": {"languages": ["ja"]}}, BadData, "data.train_files", "language ", "data.filters"),
    Bad("rows that all hold an address", {"rows.jsonl": b'{"prompt": "jo.doe@firm-of-mine.org", "completion": "a"}\n'}, {"sensitive": "drop"}, BadData, "data.train_files", "1 dropped", "data.sensitive: redact"),
    Bad("a source that weighs next to nothing", PLAIN, {"train_files": [SOURCE | {"weight": 1e-9}]}, BadData, "data.train_files", "left out by the weight of its source", "weight of the source"),
    Bad("rows that are all bad, and may be", {"rows.jsonl": b"{\n" * 5}, {"max_bad_rows": 1}, BadData, "data.train_files", "5 rows, 5 bad", "mend the rows"),
]
# fmt: on
