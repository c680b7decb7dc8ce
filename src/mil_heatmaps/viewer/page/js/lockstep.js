/* global OpenSeadragon */
// Keeps panes on the same place, size and angle. The pane that a person last touched leads, the others follow at once;
// a pane that follows never answers, so nothing can oscillate.

export class Lockstep {
  constructor() {
    this.panes = [];
    this.leader = null;
    this.listeners = [];
  }

  /** @param {function()} listener called when the view moved */
  onMove(listener) {
    this.listeners.push(listener);
  }

  add(pane) {
    this.panes.push(pane);
    this.leader ??= pane;
    const lead = () => {
      this.leader = pane;
    };
    for (const kind of ["pointerdown", "wheel", "touchstart", "keydown"]) {
      pane.element.addEventListener(kind, lead, { capture: true, passive: true });
    }
    pane.viewer.addHandler("viewport-change", () => {
      if (this.leader === pane) this.copy();
    });
    // Each pane keeps its own width in view when its size changes; afterwards all follow the leader again.
    pane.viewer.addHandler("resize", () => requestAnimationFrame(() => this.copy()));
    pane.viewer.addHandler("rotate", () => {
      if (this.leader === pane) this.copy();
    });
  }

  remove(pane) {
    this.panes = this.panes.filter((other) => other !== pane);
    if (this.leader === pane) this.leader = this.panes[0] ?? null;
  }

  /** Bring all panes to where the leader is now. */
  copy() {
    const { leader } = this;
    if (!leader?.isOpen) return;
    const from = leader.viewer.viewport;
    const center = from.getCenter(true);
    const zoom = from.getZoom(true);
    const angle = from.getRotation(true);
    for (const pane of this.panes) {
      if (pane === leader || !pane.isOpen) continue;
      const to = pane.viewer.viewport;
      // Zoom counts in widths of the pane: a pane one pixel narrower needs as much more for the same scale.
      to.zoomTo((zoom * leader.width) / pane.width, null, true);
      to.setRotation(angle, true);
      to.panTo(center, true);
      pane.viewer.forceRedraw();
    }
    for (const listener of this.listeners) listener();
  }

  /** Go to a place: centre in level-0 pixels, screen pixels a level-0 pixel. */
  goTo({ x, y, scale, angle }, immediately = false) {
    const { leader } = this;
    if (!leader?.isOpen) return;
    const { viewport } = leader.viewer;
    const size = leader.slideSize[0];
    if (angle !== undefined) viewport.setRotation(angle, immediately);
    if (scale !== undefined) viewport.zoomTo((scale * size) / leader.width, null, immediately);
    if (x !== undefined) viewport.panTo(new OpenSeadragon.Point(x / size, y / size), immediately);
    if (immediately) this.copy();
  }

  /** Show the whole slide. */
  home(immediately = false) {
    if (!this.leader?.isOpen) return;
    this.leader.viewer.viewport.setRotation(0, immediately);
    this.leader.viewer.viewport.goHome(immediately);
    if (immediately) this.copy();
  }

  /** The place as `goTo` takes it; where the view is heading, or with `now` where it is. */
  place(now = false) {
    const { leader } = this;
    if (!leader?.isOpen) return null;
    const { viewport } = leader.viewer;
    const center = viewport.getCenter(now);
    const size = leader.slideSize[0];
    return {
      x: center.x * size,
      y: center.y * size,
      scale: (viewport.getZoom(now) * leader.width) / size,
      angle: viewport.getRotation(now),
    };
  }
}
