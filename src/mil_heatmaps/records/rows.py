"""The rows of a process list, by which the tables of a run, the jobs and the stages know a slide."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mil_heatmaps.config.tissue_parameters import SlideParams
from mil_heatmaps.config.tissue_sections import SegmentationArguments, VisualizationArguments
from mil_heatmaps.notices import Notice

UNSPECIFIED = "Unspecified"
"""CLAM's label for a slide without one."""


@dataclass(frozen=True)
class ProcessRow:
    """One slide to process.

    Attributes
    ----------
    slide_id : str
        Without extension; names all outputs.
    slide_name : str
        As the list has it, perhaps with extension.
    label : str
        The cell, ``Unspecified`` when there is none; names the folder of sampled patches.
    group : str
        Name of the label's class; the folder of the slide's results.
    source : str
        Key of the folder the slide is in, when the config maps several; else ''.
    roi : (x1, y1, x2, y2) or None
        Level-0 pixels.
    mpp : float or None
        Resolution given by hand, in micrometres per level-0 pixel.
    params : SlideParams
        Resolved segmentation and outline parameters.
    cells : mapping from column to cell text, in the order of the list
    line : int
        Line of the list, 1 being the header; 0 without a list.
    problem : str or None
        Why the slide cannot be processed.
    notes : notices about the row
    case_id : str
        The case (patient) of the slide; empty where cases do not matter.
    """

    slide_id: str
    slide_name: str
    label: str = UNSPECIFIED
    group: str = UNSPECIFIED
    source: str = ""
    roi: tuple[int, int, int, int] | None = None
    params: SlideParams = field(default_factory=SlideParams)
    cells: dict[str, str] = field(default_factory=dict)
    line: int = 0
    problem: str | None = None
    notes: tuple[Notice, ...] = ()
    mpp: float | None = None
    case_id: str = ""

    def put_in_case(self, case_id: str, *said: Notice) -> None:
        """Set the case of a row, and add notices, while the list is made: copies take time in long lists."""
        vars(self)["case_id"] = case_id
        if said:
            vars(self)["notes"] = (*self.notes, *said)

    @property
    def segmentation(self) -> SegmentationArguments:
        """How this slide's tissue is found."""
        return self.params.segmentation

    @property
    def visualization(self) -> VisualizationArguments:
        """How this slide's outlines are drawn."""
        return self.params.visualization


class ProcessList(list[ProcessRow]):
    """The rows to process, in the order of the list, with facts about the whole table.

    Attributes
    ----------
    columns : names of the columns, in order
    dropped : int
        Rows left out as their ``process`` is not 1.
    column_texts : mapping from each column of parameters to its cells, including those of rows left out
    notes : sentences worth a warning
    left_out : mapping from each case to its slides that are left out, as their ``process`` is not 1
    absent : mapping from each case to slides that are in the table of cases but not in the list
    """

    def __init__(self, rows: Iterable[ProcessRow] = (), columns: Sequence[str] = ("slide_id",)) -> None:
        super().__init__(rows)
        self.columns = tuple(columns)
        self.dropped = 0
        self.column_texts: dict[str, tuple[str, ...]] = {}
        self.notes: list[str] = []
        self.left_out: dict[str, list[str]] = {}
        self.absent: dict[str, list[str]] = {}
