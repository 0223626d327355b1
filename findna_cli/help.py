"""Help pages: the panel and the unit of each flag, and two examples of each command."""

import copy
from collections.abc import Iterator, Mapping
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from findna_cli.options import check_outputs

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "embed": (
        "findna embed peaks.bed --genome hg38.fa",
        "findna embed genes.gtf --feature tss --size 1000 -g hg38.fa -o promoters.h5",
    ),
    "classify": (
        "findna classify seqs.fa --task promoter-tata",
        "findna classify peaks.bed -g hg38.fa --task runs/enhancers -o labels.tsv",
    ),
    "score": (
        "findna score calls.vcf.gz --genome hg38.fa -o scored.vcf.gz",
        "findna score variants.tsv -g hg38.fa --task promoter-tata -o scores.tsv",
    ),
    "predict-bases": (
        "findna predict-bases peaks.bed --genome hg38.fa -o bases.h5",
        "findna predict-bases peaks.bed -g hg38.fa -o entropy.bw --value entropy",
    ),
    "mutagenesis": (
        "findna mutagenesis chr20:10,000,001-10,000,400 -g hg38.fa --plot ism.png",
        "findna mutagenesis seqs.fa --task promoter-tata -o effects.tsv",
    ),
    "pretrain": (
        "findna pretrain --genome hg38.fa --holdout chr8,chr20 --out runs/mine",
        "findna pretrain --resume --out runs/mine",
    ),
    "finetune": (
        "findna finetune train.csv --valid dev.csv --test test.csv -o runs/mine",
        "findna finetune enhancer.bed background.bed -g hg38.fa --frozen -o runs/bed",
    ),
    "split": (
        "findna split peaks.bed --genome hg38.fa --n-shards 16 -o plan.json",
        "findna embed peaks.bed --genome hg38.fa --shard 3/16 --plan plan.json",
    ),
    "merge": ("findna merge peaks.part*.h5 -o peaks.h5", "findna merge peaks.part*.h5 -o peaks.parquet"),
    "view": ("findna view peaks.h5", "findna view peaks.h5 --no-header --rows 100 | cut -f 1,9"),
    "plot": ("findna plot peaks.h5 --color chrom", "findna plot peaks.h5 --labels labels.tsv --html peaks.html"),
    "verify": ("findna verify peaks.h5", "findna verify labels.tsv --model runs/mine --n 100"),
    "help": ("findna help embed", "findna help data fetch"),
    "doctor": ("findna doctor", "findna doctor --model runs/mine"),
    "benchmark run": (
        "findna benchmark run gue --data GUE --task tf/0",
        "findna benchmark run gue --data GUE --mode probe,finetune --seeds 3",
        "findna benchmark run variants --data DIR --seeds 1",
    ),
    "benchmark report": (
        "findna benchmark report results/*.json",
        "findna benchmark report results/*.json -o report.html",
    ),
    "benchmark teacher": (
        "findna benchmark teacher windows.fa held-out.fa --holdout held-out.fa",
        "findna benchmark teacher -g hg38.fa --holdout chr8,chr20 --model runs/mine",
    ),
    "benchmark speed": ("findna benchmark speed", "findna benchmark speed --size base --device cuda"),
    "benchmark study": (
        "findna benchmark study variants.toml windows.fa --data GUE",
        "findna benchmark study variants.toml windows.fa --data GUE --steps 2000",
    ),
    "data fetch": ("findna data fetch hg38", "findna data fetch mygenome --url https://example.org/mygenome.fa.gz"),
    "data windows": (
        "findna data windows hg38.2bit -o windows.fa.gz --holdout chr8,chr20",
        "findna data windows human=hg38.2bit mouse=mm39.2bit -o windows.fa.gz",
    ),
    "data audit": (
        "findna data audit train.csv valid.csv test.csv",
        "findna data audit train.csv test.csv --fail-on-leak --json audit.json",
    ),
    "model list": ("findna model list",),
    "model info": ("findna model info findna-small", "findna model info runs/mine"),
    "model verify": ("findna model verify", "findna model verify runs/mine"),
    "model readout": (
        "findna model readout runs/mine windows.fa",
        "findna model readout runs/mine windows.fa --pool mean,sd --blocks 5,10,15",
    ),
    "model convert": (
        "findna model convert checkpoint.pt --out models/published",
        "findna model convert checkpoint.pt --student --out models/student",
    ),
    "model pull": ("findna model pull ORG/NAME", "findna model pull ORG/NAME --offline"),
    "task list": ("findna task list", "findna task list --json tasks.json"),
    "task info": ("findna task info promoter-tata", "findna task info runs/mine"),
}
"""Command lines of each command."""

PANELS: Mapping[str, str] = {
    "Input": "genome genomes in_format feature split size center pad circular max_n region min_mapq exclude_flags "
    "reference_bases strand sequence_column id_column label_column labels class_names valid valid_fraction test data "
    "holdout exclude cut weight url folder checksum neighbours log limit limit_test "
    "limit_valid on_error start_from max_length min_length",
    "Output": "out embeddings output_format dtype force resume dry_run json_file quiet html plot with_plots export "
    "top abstain windows title color header as_json rows start features shard plan n_shards checkpoint_every "
    "n_reports value scores track",
    "Model": "model task label pool blocks layer raw window stride mixer n_class_tokens shift_layout initial preset "
    "head hidden class_tokens frozen extend projection reduction mixer_dropout objective",
    "Compute": "device precision precisions threads workers gpus processes batch_bases deterministic max_restarts "
    "time_budget",
}
"""Names of settings by panel; the others are in the panel Settings."""

UNITS: Mapping[str, str] = {
    "BASES": "size window stride batch_bases n_bases max_length min_length max_indel mask_span extend",
    "FILE": "out start_from embeddings track json_file genome genomes labels html plot export plan log valid test "
    "exclude cut neighbours",
    "FOLDER": "folder data",
    "NAMES": "sizes precisions scores mode",
    "NAME": "model task initial label_column sequence_column id_column color label feature pool preset head tasks "
    "value suite shift_layout objective",
    "LETTERS": "student_augment teacher_augment",
    "SEED": "seed",
    "FRACTION": "max_n valid_fraction threshold mask_fraction dropout mixer_dropout abstain max_shared warmup "
    "reverse_complement",
    "TIME": "time_budget checkpoint_every",
    "SECONDS": "seconds",
    "CONTIGS": "holdout circular",
    "NUMBERS": "blocks",
    "NAME=W": "weight",
    "REGION": "region",
    "FLAGS": "exclude_flags",
    "I/N": "shard",
    "URL": "url",
    "TEXT": "title class_names checksum",
    "N": "min_mapq threads workers gpus processes rows start features max_points seeds steps epochs top limit "
    "limit_test limit_valid n_windows n_held_out n_reports n_shards rounds batch_size patience max_restarts n "
    "n_class_tokens layer warmup_steps passes max_columns hidden class_tokens exclude_kmers projection",
    "X": "alpha center_momentum clip contrast contrast_start head_rate layer_decay learning_rate momentum noise_sd "
    "reverse_probability student_temp teacher_temp weight_decay",
    "bed|+|-|both": "strand",
    "auto|fp32|bf16|bf16-stream": "precision",
    "auto|cpu|cuda|mps": "device",
    "chordmixer|transformer": "mixer",
    "FORMAT": "in_format output_format",
    "pca|tsne": "method",
}
"""Names of settings by what the help page calls their value."""

_NARROW = 76
"""A terminal of fewer columns has help pages with one column less."""

_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names.split()}
_UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names.split()}


class Command(TyperCommand):
    """A command whose flags have a panel and a unit."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for parameter in self.params:
            if parameter.param_type_name == "option":
                parameter.rich_help_panel = _PANEL_OF.get(parameter.name or "", "Settings")  # type: ignore[attr-defined]
                if parameter.metavar is None:
                    is_switch = getattr(parameter, "is_flag", False)
                    parameter.metavar = "" if is_switch else _UNIT_OF.get(parameter.name or "")
                if "|" in (parameter.metavar or "") and 6 * len(parameter.metavar or "") > get_terminal_size().columns:
                    parameter.metavar = "NAME"  # its help has the choices, too
            else:
                parameter.metavar = parameter.metavar or (parameter.name or "").upper()
                parameter.display_type_rich = lambda ctx: None  # type: ignore[attr-defined]
        order = [*PANELS, "Settings"]
        self.params.sort(key=lambda one: order.index(getattr(one, "rich_help_panel", None) or order[0]))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line, without Typer's braces around required arguments."""
        return [piece.strip("{}").replace("}...", "...") for piece in super().collect_usage_pieces(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page; in a narrow terminal, flag and value share a column, so that names are complete."""
        own = self.params
        self.params = [_with_recipe(one) for one in own]
        if get_terminal_size().columns < _NARROW:
            self.params = [_compact(one) if one.param_type_name == "option" else one for one in self.params]
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params = own

    def invoke(self, ctx: Any) -> Any:
        """Run it, after the check that its outputs do not conflict."""
        check_outputs(ctx.params, has_stdout=self.name in ("embed", "classify", "score"))
        return super().invoke(ctx)

    def get_help_option(self, ctx: Any) -> Any:
        """The flag --help, in the panel of the last flag."""
        found = super().get_help_option(ctx)
        if found is not None:
            found.metavar = ""
            found.rich_help_panel = getattr(self.params[-1], "rich_help_panel", None) if self.params else None
        return found


def _with_recipe(option: Any) -> Any:
    """The option with the default of a recipe as its own, so that Typer shows it without parentheses."""
    if not isinstance(getattr(option, "show_default", None), str):
        return option
    found = copy.copy(option)
    found.default, found.show_default = option.show_default, True
    return found


def _compact(option: Any) -> Any:
    """The option with its value beside its name, and --no-NAME in the same word."""
    long = max(option.opts, key=len)
    name = f"--[no-]{long[2:]}" if option.secondary_opts else f"{long} {option.metavar or ''}".rstrip()
    found = copy.copy(option)
    found.opts = [name, *(one for one in option.opts if one != long)]
    if option.secondary_opts and isinstance(option.default, bool):  # shown as "training" or "no-training"
        found.default = (option.opts if option.default else option.secondary_opts)[0].lstrip("-")
    found.secondary_opts, found.metavar = [], ""
    return found


class Group(TyperGroup):
    """A group of commands whose own flags are switches."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The flags, without the name of a type."""
        found = super().get_params(ctx)
        for parameter in found:
            parameter.metavar = ""
        return found


def add_help(app: typer.Typer, path: str = "") -> None:
    """Give every command of an app its panels and examples."""
    app.rich_markup_mode = "markdown"
    app.info.cls = Group
    for info in app.registered_commands:
        name = info.name or (info.callback.__name__ if info.callback else "")
        info.cls = Command
        info.epilog = "\n\n".join(["Examples:", *(f"- `{line}`" for line in EXAMPLES.get(f"{path}{name}", ()))])
    for group in app.registered_groups:
        if group.typer_instance:
            add_help(group.typer_instance, f"{path}{group.name} ")


def help_page(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="A command, such as data fetch.")
    ] = None,
) -> None:
    """Print the help page of a command."""
    found: Any = context.find_root()
    for name in command or []:
        if not hasattr(found.command, "commands"):
            raise typer.BadParameter(f"{' '.join(command or [])}: no such command")
        found.resilient_parsing = False  # or an unknown name is not an error
        inner: Any = found.command.resolve_command(found, [name])[1]
        found = inner.make_context(name, [], parent=found, resilient_parsing=True)
    found.get_help()  # Typer prints it


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command of a group with its full name."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")
    else:
        yield path, command
