"""The command line of experiments that run `sterna train` on a model and a text, with keys of the recipe on top."""
import argparse
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def make_parser(doc):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--program", default=str(ROOT / "build/release/sterna"))
    return parser


def parse(parser):
    """Keys may stand before and behind options; the folder is there afterwards."""
    args = parser.parse_intermixed_args()
    args.scratch = args.scratch.resolve()
    args.scratch.mkdir(parents=True, exist_ok=True)
    return args
