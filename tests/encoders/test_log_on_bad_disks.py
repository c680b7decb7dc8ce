"""The log of features on disks that refuse: what was complete is kept, what was torn is cut off."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.encoders.feature_log import FeatureLog
from mil_heatmaps.errors import FeatureError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.ENODEV, errno.ESTALE])
def test_a_disk_that_refuses_within_a_batch_keeps_the_complete_ones(tmp_path: Path, code: int) -> None:
    batches = [np.full((3, 4), k, np.float32) for k in range(3)]

    class Refusing:
        """A file that takes so many bytes more."""

        def __init__(self, file: Any, left: int) -> None:
            self.file, self.left = file, left

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: Any) -> int:
            if self.left == 0:
                raise OSError(code, os.strerror(code))
            taken = min(self.left, len(data), 40)  # one call may write a part only
            self.left -= taken
            return int(self.file.write(data[:taken]))

    frame = 16 + 3 * 4 * 4
    for left in range(0, 3 * frame, 7):
        path = tmp_path / f"{left}.log"
        with FeatureLog(path, "key", 9, 4) as log:
            log._file = Refusing(log._file, left)
            with pytest.raises(FeatureError, match=os.strerror(code)):
                [log.append(batch) for batch in batches]
        with FeatureLog(path, "key", 9, 4) as log:
            assert log.rows == 3 * (left // frame)
            for batch in batches[log.rows // 3 :]:
                log.append(batch)
            np.testing.assert_array_equal(log.read(np.arange(9)), np.concatenate(batches))
