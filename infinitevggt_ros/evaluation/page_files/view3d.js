// SPDX-License-Identifier: Apache-2.0
// A point cloud on a plain canvas, with a depth buffer of its own: no WebGL, no library.
class PointView {
  constructor(canvas) {
    this.canvas = canvas;
    this.reset();
    this.listen();
    this.turning = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    const spin = () => { if (this.turning && this.cloud) { this.yaw += 0.003; this.draw(); } requestAnimationFrame(spin); };
    requestAnimationFrame(spin);
  }

  reset() { this.yaw = -0.7; this.pitch = 0.5; this.distance = 2.3; this.shift = [0, 0]; }

  // cloud: as the page has it; paths: [{points, color}] in the same coordinates
  show(cloud, paths) {
    const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const steps = new Int16Array(bytes(cloud.points).buffer);
    this.points = Float32Array.from(steps, step => step / cloud.steps);
    this.colors = bytes(cloud.colors);
    this.paths = paths.map(path => ({ color: path.color, points: dense(path.points).map(
      point => point.map((value, axis) => (value - cloud.middle[axis]) / cloud.reach)) }));
    this.cloud = cloud;
    this.draw();
  }

  draw() {
    const ratio = Math.min(devicePixelRatio || 1, 1.5);
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height; }
    const context = this.canvas.getContext("2d"), image = context.createImageData(width, height);
    const out = new Uint32Array(image.data.buffer).fill(0xff130e0b), near = new Float32Array(width * height).fill(Infinity);
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const focal = 1.15 * height;
    // x forward, y left, z up; the camera looks at the middle from `distance` away
    const put = (x, y, z, color, size) => {
      const ahead = cy * x + sy * y, left = -sy * x + cy * y;
      const depth = this.distance + cp * ahead - sp * z, up = sp * ahead + cp * z;
      if (depth < 0.05) return;
      const u = Math.round(width / 2 + this.shift[0] * ratio - focal * left / depth);
      const v = Math.round(height / 2 + this.shift[1] * ratio - focal * up / depth);
      const half = Math.max(0, Math.min(6, Math.round(size * focal / depth)));
      for (let row = Math.max(0, v - half); row <= v + half && row < height; row++)
        for (let column = Math.max(0, u - half); column <= u + half && column < width; column++) {
          const at = row * width + column;
          if (depth < near[at]) { near[at] = depth; out[at] = color; }
        }
    };
    const { points, colors } = this, size = 0.75 / Math.sqrt(Math.max(points.length / 3, 400));
    for (let i = 0; i < points.length; i += 3)
      put(points[i], points[i + 1], points[i + 2], 0xff000000 | colors[i + 2] << 16 | colors[i + 1] << 8 | colors[i], size);
    for (const path of this.paths) for (const point of path.points) put(point[0], point[1], point[2], path.color, 0.006);
    context.putImageData(image, 0, 0);
  }

  listen() {
    const canvas = this.canvas;
    let last = null;
    canvas.addEventListener("pointerdown", event => { last = event; this.turning = false; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointermove", event => {
      if (!last) return;
      const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
      if (event.shiftKey || event.buttons & 2) { this.shift[0] += dx; this.shift[1] += dy; }
      else { this.yaw += dx * 0.006; this.pitch = Math.max(-1.55, Math.min(1.55, this.pitch + dy * 0.006)); }
      last = event;
      this.draw();
    });
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      this.turning = false;
      this.distance = Math.max(0.1, Math.min(20, this.distance * Math.exp(event.deltaY * 0.001)));
      this.draw();
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { this.reset(); this.draw(); });
    canvas.addEventListener("contextmenu", event => event.preventDefault());
    addEventListener("resize", () => this.cloud && this.draw());
  }
}

// The same way with so many points that it is drawn as a line.
function dense(points) {
  const found = [];
  for (let i = 0; i + 1 < points.length; i++) {
    const parts = Math.max(1, Math.ceil(4000 / points.length));
    for (let k = 0; k < parts; k++) found.push(points[i].map((value, axis) => value + (points[i + 1][axis] - value) * k / parts));
  }
  return found;
}
