"""Where one is: the course in order, and the lines at the top of a notebook that say so.

`scalept run --save` refreshes those lines (the cell whose id ends in `-here`). The README holds `glance()` and `table()` word for
word, which a test checks; notebook 00 shows the same course with the learner's progress (`overview.course_map`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lesson:
    """One notebook: its file, what it is called, the Chinese name, the minutes a learner takes, what the learner does in it, and
    the numbers of the notebooks that it builds on."""

    file: str
    title: str
    chinese: str
    minutes: int
    gives: str = ""
    needs: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        return self.file[:2]


COURSE: tuple[Lesson, ...] = (
    Lesson("00_start_here.ipynb", "start here", "从这里开始", 50,
           "check the machine; train a first model in seconds; be scored on a first prediction", ()),
    Lesson("01_data_scaling.ipynb", "data scaling", "数据扩展", 180,
           "collect, clean, deduplicate, mix and tokenize text; measure what more, repeated and cleaner text is worth", ("00",)),
    Lesson("02_model_scaling.ipynb", "model scaling", "模型扩展", 100,
           "count the parameters of real models; measure size, width against depth, and the rate that transfers", ("00",)),
    Lesson("03_optimization_and_batch_size.ipynb", "optimization and batch size", "优化与批量大小", 160,
           "build AdamW, a schedule and the heart of Muon; measure the critical batch size in two ways", ("00",)),
    Lesson("04_mixed_precision.ipynb", "mixed precision and memory", "混合精度", 170,
           "read numbers by their bits, from 32 to 4; scale losses; count memory to the byte; draw the roofline", ("00", "02")),
    Lesson("05_distributed_training.ipynb", "distributed training", "分布式训练", 200,
           "split data, states, tensors and stages over processes; prove each split equal to one process", ("02", "03")),
    Lesson("06_delayed_sync_and_faults.ipynb", "delayed synchronisation and faults", "延迟同步与故障", 130,
           "train apart and meet rarely (local SGD, DiLoCo); kill a rank, go on, end at the same number", ("02", "05")),
    Lesson("07_curriculum_schedules.ipynb", "curriculum schedules", "课程调度", 180,
           "order text from easy to hard, short to long, small to large; compare with the controls people forget", ("02", "03")),
    Lesson("08_scaling_curves.ipynb", "scaling curves", "可扩充性评估", 150,
           "run the whole study: equal-compute slices, a fit, a sealed prediction, the large run, the score", ("00", "01", "02")),
    Lesson("09_transfer_evaluation.ipynb", "transfer", "迁移", 220,
           "pre-train a BERT and fine-tune it, whole or by LoRA; measure calibration, forgetting and privacy", ("02", "08")),
    Lesson("10_vla_scaling.ipynb", "vision-language-action scaling", "视觉-语言-动作", 200,
           "clone an expert in grid worlds; measure success against demonstrations, parameters and steps", ("00", "07")),
    Lesson("11_inference_efficiency.ipynb", "inference efficiency", "推理效率", 190,
           "quantize (GPTQ), prune, distil, decode with a cache and a draft; compare at equal training compute", ("00", "04")),
    Lesson("12_experts_and_long_context.ipynb", "experts and long context", "混合专家与长上下文", 220,
           "pass attention around a ring of ranks; route tokens to experts; prove each equal to one process", ("04", "05")),
    Lesson("13_capstone.ipynb", "capstone", "综合项目", 190,
           "plan a run for a cluster and a budget; have the plan checked; run its miniature beside a naive plan",
           ("01", "05", "08")),
    Lesson("14_failure_lab.ipynb", "failure lab", "故障实验室", 180,
           "find the causes of eight broken runs from their evidence alone, then mend the code", ("02", "04", "05", "08")),
)  # fmt: skip


def lines(number: str, headings: list[str]) -> str:
    """The text of the cell: number, minutes, neighbours, and the contents with a link to each heading (of level 2)."""
    place = next(i for i, lesson in enumerate(COURSE) if lesson.number == number)
    lesson = COURSE[place]
    around = []
    if place:
        around.append(f"← [{COURSE[place - 1].number} {COURSE[place - 1].title}]({COURSE[place - 1].file})")
        around.append(f"[map of the course]({COURSE[0].file}#The-map-of-the-course)")
    if place + 1 < len(COURSE):
        around.append(f"[{COURSE[place + 1].number} {COURSE[place + 1].title}]({COURSE[place + 1].file}) →")
    contents = " · ".join(f"[{_short(heading)}](#{anchor(heading)})" for heading in headings)
    return (
        f"**You are here:** notebook {number} of {len(COURSE) - 1}, {lesson.title} {lesson.chinese}, about "
        f"{lesson.minutes} minutes. {' · '.join(around)}\n\n**Contents:** {contents}"
    )


def glance() -> str:
    """The course in a few lines of Markdown, for the top of the README: each notebook with its minutes."""
    steps = [f"[{x.number} {x.title}](notebooks/{x.file}) {x.minutes}" for x in COURSE]
    return f"**The course**, in minutes: {' · '.join(steps)}."


def table() -> str:
    """The course as a Markdown table, for the README."""
    rows = [
        f"| {x.number} | [{x.title}](notebooks/{x.file}) | {x.minutes} | {x.gives} | {x.chinese} |"
        for x in COURSE
    ]
    return "\n".join(["| | notebook | minutes | you will | |", "|---|---|--:|---|---|", *rows])


def anchor(heading: str) -> str:
    """What JupyterLab and nbconvert call a heading in an address: its words joined by hyphens."""
    return heading.strip().replace("`", "").replace(" ", "-").replace("(", "%28").replace(")", "%29")


def github_anchor(heading: str) -> str:
    """What GitHub (and the docs site) calls a heading in an address: small letters, without punctuation, joined by hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _short(heading: str) -> str:
    """A heading without what follows its colon: enough to find it."""
    return re.split(r"[:：]", heading, maxsplit=1)[0].strip()


def refresh(notebook: Any) -> Any:
    """Write the cell's text anew; in place, and returned. A notebook without the cell, or none of the course, stays as it is."""
    cell = next((cell for cell in notebook["cells"] if str(cell.get("id")).endswith("-here")), None)
    number = str(cell["id"])[2:4] if cell is not None else ""
    if cell is not None and any(lesson.number == number for lesson in COURSE):
        cell["source"] = lines(number, headings(notebook))
    return notebook


def headings(notebook: Any) -> list[str]:
    """The headings of level 2, in order."""
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    return [found.strip() for text in texts for found in re.findall(r"^## (.+)$", text, re.MULTILINE)]
