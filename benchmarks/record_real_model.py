"""Take the results of a comparison of recipes/smollm2 into the package, and its pictures into the documentation.

prefix-rft compare recipes/smollm2 --seeds 2 --jobs 2 --output_dir RUNS
python benchmarks/record_real_model.py RUNS
"""

import argparse
import json
import shutil
from pathlib import Path


ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "prefix_rft_trl" / "lab" / "real" / "recorded_results.json"
DOCS = ROOT / "docs" / "real_model"
PICTURE_OF_PAGE = "table1-accuracy.png"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the comparison")
    folder = parser.parse_args(argv).folder
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    experiments = (one for table in results["tables"] for row in table["rows"] for one in row["experiments"])
    for run in (run for experiment in experiments for run in experiment["runs"]):
        del run["environments"]
    RECORDED.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(DOCS, ignore_errors=True)
    DOCS.mkdir()
    shutil.copy(folder / "report.md", DOCS)
    (DOCS / "figures").mkdir()
    for picture in (*folder.glob("figures/*.svg"), folder / "figures" / PICTURE_OF_PAGE):
        shutil.copy(picture, DOCS / "figures")


if __name__ == "__main__":
    main()
