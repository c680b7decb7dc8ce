// A second slide in the frame of the first: an affine map from level-0 pixels of the first to those of the second.

export class Frame {
  /** @param {number[][]} affine 3 x 3 */
  constructor(affine) {
    [[this.a, this.b, this.c], [this.d, this.e, this.f]] = affine;
    this.det = this.a * this.e - this.b * this.d;
    this.flips = this.det < 0;
    this.scale = Math.sqrt(Math.abs(this.det));
    // The nearest rotation: shear is not shown; marks and outlines are transformed exactly.
    this.turn = this.flips
      ? (Math.atan2(this.d + this.b, this.e - this.a) * 180) / Math.PI
      : (Math.atan2(this.d - this.b, this.a + this.e) * 180) / Math.PI;
  }

  point(x, y) {
    return [this.a * x + this.b * y + this.c, this.d * x + this.e * y + this.f];
  }

  inverse(x, y) {
    const [u, v] = [x - this.c, y - this.f];
    return [(this.e * u - this.b * v) / this.det, (this.a * v - this.d * u) / this.det];
  }

  /** A place of the first slide on the second. */
  there({ x, y, scale, angle }) {
    const [u, v] = this.point(x, y);
    return { x: u, y: v, scale: scale / this.scale, angle: this.flips ? this.turn - angle : angle - this.turn };
  }

  back({ x, y, scale, angle }) {
    const [u, v] = this.inverse(x, y);
    return { x: u, y: v, scale: scale * this.scale, angle: this.flips ? this.turn - angle : angle + this.turn };
  }

  /** Set up a context that draws in the second slide's pixels to draw in the first's. */
  apply(context) {
    context.transform(this.a, this.d, this.b, this.e, this.c, this.f);
  }

  /** Features carried over to the second slide. */
  carry(features) {
    const move = (part) => (typeof part[0] === "number" ? [...this.point(part[0], part[1]), ...part.slice(2)] : part.map(move));
    return features.map((feature) => ({
      ...feature, geometry: { ...feature.geometry, coordinates: move(feature.geometry.coordinates) },
    }));
  }
}
