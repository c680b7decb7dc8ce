// A pyramid with levels of any size and tiles of any shape, as OpenSeadragon wants it.

/* global OpenSeadragon */

/**
 * @param {{size: number[], levels: {size: number[], tile: number[], tiles: number[], downsample: number[]}[]}} pyramid
 *   coarsest level first; level-0 size
 * @param {number[]} stretch size whose shape the pyramid takes: that of the slide, for a picture laid over it
 * @param {function(number, number, number): string} urlOf level, column, row
 */
export function tileSource(pyramid, stretch, urlOf) {
  const [width, height] = stretch;
  const aspect = height / width;
  const levels = pyramid.levels.map((level) => ({
    ...level,
    // Share of the slide's width and height that one pixel covers.
    perX: level.downsample[0] / pyramid.size[0],
    perY: (level.downsample[1] / pyramid.size[1]) * aspect,
  }));
  const source = new OpenSeadragon.TileSource({
    width,
    height,
    tileSize: levels[levels.length - 1].tile[0],
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: levels.length - 1,
  });
  source.getTileWidth = (level) => levels[level].tile[0];
  source.getTileHeight = (level) => levels[level].tile[1];
  source.getLevelScale = (level) => 1 / (levels[level].perX * width);
  source.getNumTiles = (level) => new OpenSeadragon.Point(...levels[level].tiles);
  source.getTileAtPoint = (level, point) => {
    const { perX, perY, tile, tiles } = levels[level];
    return new OpenSeadragon.Point(
      Math.max(0, Math.min(tiles[0] - 1, Math.floor(point.x / perX / tile[0]))),
      Math.max(0, Math.min(tiles[1] - 1, Math.floor(point.y / perY / tile[1]))),
    );
  };
  source.getTileBounds = (level, column, row, isSource) => {
    const { perX, perY, tile, size } = levels[level];
    const wide = Math.min(tile[0], size[0] - column * tile[0]);
    const high = Math.min(tile[1], size[1] - row * tile[1]);
    if (isSource) return new OpenSeadragon.Rect(0, 0, wide, high);
    return new OpenSeadragon.Rect(column * tile[0] * perX, row * tile[1] * perY, wide * perX, high * perY);
  };
  source.getTileUrl = urlOf;
  return source;
}
