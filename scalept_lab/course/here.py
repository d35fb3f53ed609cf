"""Where one is: the course in order, and the lines at the top of a notebook that say so.

`scalept run --save` refreshes those lines (the cell whose id ends in `-here`); the map in notebook 00 and in the README names the
same notebooks and minutes, which a test holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lesson:
    """One notebook: its file, what it is called, the Chinese name, and the minutes a learner takes."""

    file: str
    title: str
    chinese: str
    minutes: int

    @property
    def number(self) -> str:
        return self.file[:2]


COURSE = (
    Lesson("00_start_here.ipynb", "start here", "从这里开始", 50),
    Lesson("01_data_scaling.ipynb", "data scaling", "数据扩展", 180),
    Lesson("02_model_scaling.ipynb", "model scaling", "模型扩展", 100),
    Lesson("03_optimization_and_batch_size.ipynb", "optimization and batch size", "优化与批量大小", 160),
    Lesson("04_mixed_precision.ipynb", "mixed precision and memory", "混合精度", 170),
    Lesson("05_distributed_training.ipynb", "distributed training", "分布式训练", 200),
    Lesson("06_delayed_sync_and_faults.ipynb", "delayed synchronisation and faults", "延迟同步与故障", 130),
    Lesson("07_curriculum_schedules.ipynb", "curriculum schedules", "课程调度", 180),
    Lesson("08_scaling_curves.ipynb", "scaling curves", "可扩充性评估", 150),
    Lesson("09_transfer_evaluation.ipynb", "transfer", "迁移", 220),
    Lesson("10_vla_scaling.ipynb", "vision-language-action scaling", "视觉-语言-动作", 200),
    Lesson("11_inference_efficiency.ipynb", "inference efficiency", "推理效率", 190),
    Lesson("12_experts_and_long_context.ipynb", "experts and long context", "混合专家与长上下文", 220),
    Lesson("14_failure_lab.ipynb", "failure lab", "故障实验室", 180),
)


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


def anchor(heading: str) -> str:
    """What JupyterLab and nbconvert call a heading in an address: its words joined by hyphens."""
    return heading.strip().replace("`", "").replace(" ", "-").replace("(", "%28").replace(")", "%29")


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
