/* global OpenSeadragon */
// Keeps panes at the same place, scale and angle. The pane that a person last touched leads, the others follow at once;
// a follower never moves the leader, so nothing can oscillate.

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

  /** Whether the whole slide is shown. */
  get isHome() {
    const { leader } = this;
    if (!leader?.isOpen) return false;
    const { viewport } = leader.viewer;
    const home = viewport.getHomeBounds();
    const bounds = viewport.getBounds(false);
    const near = (a, b) => Math.abs(a - b) <= 2e-3 * home.width;
    return !viewport.getRotation(false) && near(home.getCenter().x, bounds.getCenter().x)
      && near(home.getCenter().y, bounds.getCenter().y) && Math.abs(viewport.getZoom(false) / viewport.getHomeZoom() - 1) < 2e-3;
  }

  /** Whether every pane knows its own size. */
  get isMeasured() {
    return this.panes.every((pane) => !pane.isOpen || (
      Math.abs(pane.viewer.viewport.getContainerSize().x - pane.viewer.container.clientWidth) < 1
      && Math.abs(pane.viewer.viewport.getContainerSize().y - pane.viewer.container.clientHeight) < 1));
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
      if (pane.frame || leader.frame) {
        this.follow(pane);
        continue;
      }
      // Zoom is in widths of the pane: for the same scale, a narrower pane needs proportionally more.
      to.zoomTo((zoom * leader.width) / pane.width, null, true);
      to.setRotation(angle, true);
      to.panTo(center, true);
      pane.viewer.forceRedraw();
    }
    for (const listener of this.listeners) listener();
  }

  /** Move a pane to the leader's place where one of the two shows the slide beside. */
  follow(pane) {
    const place = this.placeOf(this.leader, true);
    const there = pane.frame ? pane.frame.there(place) : place;
    const { viewport } = pane.viewer;
    const size = pane.slideSize[0];
    viewport.setFlip(Boolean(pane.frame?.flips));
    viewport.zoomTo((there.scale * size) / pane.width, null, true);
    viewport.setRotation(there.angle, true);
    viewport.panTo(new OpenSeadragon.Point(there.x / size, there.y / size), true);
    pane.viewer.forceRedraw();
  }

  /** Move to a place: centre in level-0 pixels, screen pixels per level-0 pixel. */
  goTo({ x, y, scale, angle }, immediately = false) {
    this.leader = this.main ?? this.leader;
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
    this.leader = this.main ?? this.leader;
    if (!this.leader?.isOpen) return;
    this.leader.viewer.viewport.setRotation(0, immediately);
    this.leader.viewer.viewport.goHome(immediately);
    if (immediately) this.copy();
  }

  /** A pane of the first slide: the leader if it shows that slide. */
  get main() {
    return this.leader && !this.leader.frame ? this.leader : this.panes.find((pane) => !pane.frame) ?? null;
  }

  /** The place as `goTo` takes it; where the view is heading, or with `now` where it is. */
  place(now = false) {
    return this.leader?.isOpen ? this.placeOf(this.leader, now) : null;
  }

  /** Where a pane is, in the first slide's pixels. */
  placeOf(pane, now) {
    const { viewport } = pane.viewer;
    const center = viewport.getCenter(now);
    const size = pane.slideSize[0];
    const place = {
      x: center.x * size,
      y: center.y * size,
      scale: (viewport.getZoom(now) * pane.width) / size,
      angle: viewport.getRotation(now),
    };
    return pane.frame ? pane.frame.back(place) : place;
  }
}
