// Patches to a raster of values. Pure functions on typed arrays: no canvas, no colours.
//
// Values are whole numbers 0..65535 (see quantise), so that sums over overlapping patches are exact in any order. A
// pixel's value is the mean of its patches, -1 where there is none. `_l0` are level-0 pixels.

const SMALL_PX = 16; // patches up to this area are filled directly, larger ones by their corners

/**
 * @param {{xs: Int32Array, ys: Int32Array, byTop: Uint32Array, width: number, height: number}} patches
 * @param {Int32Array} values one per patch, -1 for none
 * @param {{x: number, y: number, scale: number, width: number, height: number}} view corner in level-0 pixels, raster
 *   pixels per level-0 pixel, size of the raster
 * @returns {Int32Array} row by row
 */
export function rasterise(patches, values, view) {
  const { width, height, scale } = view;
  const [first, last] = rowsTouched(patches, view.y, view.y + height / scale);
  const direct = patches.width * patches.height * scale * scale <= SMALL_PX;
  // By corners: +1 where a patch begins, -1 where it ends, then running sums along both axes.
  const stride = width + 1;
  const cells = direct ? width * height : stride * (height + 1);
  const sums = new Int32Array(cells);
  const counts = new Int32Array(cells);
  const { xs, ys, byTop } = patches;
  for (let place = first; place < last; place++) {
    const i = byTop[place];
    const value = values[i];
    if (value < 0) continue;
    let left = Math.round((xs[i] - view.x) * scale);
    let right = Math.max(left + 1, Math.round((xs[i] + patches.width - view.x) * scale));
    let top = Math.round((ys[i] - view.y) * scale);
    let bottom = Math.max(top + 1, Math.round((ys[i] + patches.height - view.y) * scale));
    if (right <= 0 || bottom <= 0 || left >= width || top >= height) continue;
    if (left < 0) left = 0;
    if (top < 0) top = 0;
    if (right > width) right = width;
    if (bottom > height) bottom = height;
    if (direct) {
      for (let y = top; y < bottom; y++) {
        for (let at = y * width + left, end = y * width + right; at < end; at++) {
          sums[at] += value;
          counts[at]++;
        }
      }
    } else {
      const a = top * stride + left;
      const b = top * stride + right;
      const c = bottom * stride + left;
      const d = bottom * stride + right;
      sums[a] += value;
      sums[b] -= value;
      sums[c] -= value;
      sums[d] += value;
      counts[a]++;
      counts[b]--;
      counts[c]--;
      counts[d]++;
    }
  }
  return direct ? means(sums, counts) : integrate(sums, counts, width, height);
}

function means(sums, counts) {
  for (let i = 0; i < sums.length; i++) {
    const count = counts[i];
    if (count === 0) sums[i] = -1;
    else if (count > 1) sums[i] = (sums[i] / count) | 0;
  }
  return sums;
}

function integrate(sums, counts, width, height) {
  const out = new Int32Array(width * height);
  const stride = width + 1;
  for (let y = 0; y < height; y++) {
    let sum = 0;
    let count = 0;
    const row = y * stride;
    for (let x = 0; x < width; x++) {
      // Running sum along the row, on top of the row above.
      sum += sums[row + x];
      count += counts[row + x];
      const total = y ? sum + sums[row - stride + x] : sum;
      const many = y ? count + counts[row - stride + x] : count;
      sums[row + x] = total;
      counts[row + x] = many;
      out[y * width + x] = many === 0 ? -1 : many === 1 ? total : (total / many) | 0;
    }
  }
  return out;
}

/** Range of places in `byTop` of the patches that can touch the rows from `top` to `bottom`. */
function rowsTouched(patches, top, bottom) {
  const { ys, byTop, height } = patches;
  const search = (limit) => {
    let low = 0;
    let high = byTop.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ys[byTop[middle]] < limit) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return [search(top - height - 1), search(bottom + 1)];
}

/** Order of the patches by their top edge; a counting sort over rows of pixels would need the slide's height. */
export function orderByTop(ys) {
  const keys = new Float64Array(ys.length); // y and index in one number: a numeric sort is ten times a callback's
  for (let i = 0; i < ys.length; i++) keys[i] = ys[i] * 16777216 + i;
  keys.sort();
  const order = new Uint32Array(ys.length);
  for (let i = 0; i < ys.length; i++) order[i] = keys[i] - Math.floor(keys[i] / 16777216) * 16777216;
  return order;
}

/** Index of the patch under a level-0 point: the one with the nearest centre if there are several; -1 for none. */
export function patchAt(patches, x, y) {
  const [first, last] = rowsTouched(patches, y, y);
  let best = -1;
  let nearest = Infinity;
  for (let place = first; place < last; place++) {
    const i = patches.byTop[place];
    const dx = x - patches.xs[i];
    const dy = y - patches.ys[i];
    if (dx < 0 || dy < 0 || dx >= patches.width || dy >= patches.height) continue;
    const distance = Math.hypot(dx - patches.width / 2, dy - patches.height / 2);
    if (distance < nearest) {
      nearest = distance;
      best = i;
    }
  }
  return best;
}

/** Half the difference of two rasters, around the middle value; -1 unless both have a value. */
export function difference(a, b) {
  const out = new Int32Array(a.length);
  for (let i = 0; i < a.length; i++) out[i] = a[i] < 0 || b[i] < 0 ? -1 : (65536 + a[i] - b[i]) >> 1;
  return out;
}

/**
 * Mean over roughly a disc of `radius` pixels, of covered pixels only, so that borders neither fade nor spread.
 * Two box means in a row give a tent.
 */
export function smooth(values, width, height, radius) {
  if (radius < 1) return values;
  const sums = new Float32Array(values.length);
  const weights = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    if (values[i] >= 0) {
      sums[i] = values[i];
      weights[i] = 1;
    }
  }
  for (let pass = 0; pass < 2; pass++) {
    for (const field of [sums, weights]) {
      boxAlongRows(field, width, height, radius);
      boxAlongColumns(field, width, height, radius);
    }
  }
  const out = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = values[i] < 0 ? -1 : Math.min(65535, sums[i] / weights[i]);
  return out;
}

function boxAlongRows(field, width, height, radius) {
  const line = new Float32Array(width);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    line.set(field.subarray(row, row + width));
    let sum = 0;
    for (let x = 0; x < Math.min(radius, width); x++) sum += line[x];
    for (let x = 0; x < width; x++) {
      if (x + radius < width) sum += line[x + radius];
      if (x - radius - 1 >= 0) sum -= line[x - radius - 1];
      field[row + x] = sum;
    }
  }
}

function boxAlongColumns(field, width, height, radius) {
  // All columns advance together, row by row: memory is read in order.
  const source = field.slice();
  const sum = new Float64Array(width);
  for (let y = 0; y < Math.min(radius, height); y++) for (let x = 0; x < width; x++) sum[x] += source[y * width + x];
  for (let y = 0; y < height; y++) {
    const enters = y + radius < height ? (y + radius) * width : -1;
    const leaves = y - radius - 1 >= 0 ? (y - radius - 1) * width : -1;
    for (let x = 0; x < width; x++) {
      if (enters >= 0) sum[x] += source[enters + x];
      if (leaves >= 0) sum[x] -= source[leaves + x];
      field[y * width + x] = sum[x];
    }
  }
}
