"""The process that converts a checkpoint: DeepSpeed is imported here alone, so that who reads records need not."""

import argparse
import sys

from deepspeed.checkpoint import ds_to_universal

from infra.launch.lifeline import die_with_parent


def main(source: str, target: str) -> None:
    """One worker, as many small files are written and pickles read that only our own record vouches for."""
    die_with_parent()
    ds_to_universal.main(
        argparse.Namespace(
            input_folder=source,
            output_folder=target,
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
