// Colour tables: 65536 steps of the scale to RGBA, with threshold and range built in, so that recolouring a raster is
// one look-up per pixel.

/** @param {{name: string, diverging: boolean, table: string}} palette with base64 RGB rows */
export function decodePalette(palette) {
  const text = atob(palette.table);
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  return { name: palette.name, diverging: palette.diverging, ends: palette.ends, rgb: bytes, count: bytes.length / 3 };
}

/** Row of the table for a share of the scale, as matplotlib looks it up. */
export function colourOf(palette, share) {
  const row = Math.max(0, Math.min(palette.count - 1, Math.floor(share * palette.count)));
  return [palette.rgb[3 * row], palette.rgb[3 * row + 1], palette.rgb[3 * row + 2]];
}

/**
 * @param {object} palette
 * @param {{low: number, high: number, threshold: number, cold: boolean}} range shares of the scale: colours stretch from
 *   `low` to `high`; below `threshold` (above it with `cold`) nothing is drawn
 * @returns {Uint32Array} 65536 colours as canvas pixels hold them, 0 for transparent
 */
export function lookupTable(palette, range) {
  const out = new Uint32Array(65536);
  const width = Math.max(range.high - range.low, 1e-9);
  const limit = Math.round(range.threshold * 65536);
  for (let step = 0; step < 65536; step++) {
    if (range.threshold > 0 && (range.cold ? step > limit : step < limit)) continue;
    const share = (step / 65536 - range.low) / width;
    const row = Math.max(0, Math.min(palette.count - 1, Math.floor(share * palette.count)));
    const at = 3 * row;
    out[step] = 0xff000000 | (palette.rgb[at + 2] << 16) | (palette.rgb[at + 1] << 8) | palette.rgb[at];
  }
  return out;
}

/** Colours of a raster as ImageData. */
export function paint(raster, width, height, lookup) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < raster.length; i++) if (raster[i] >= 0) pixels[i] = lookup[raster[i]];
  return image;
}
