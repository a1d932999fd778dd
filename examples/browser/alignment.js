// Alignment: five landmarks -> similarity transform -> crop. As in sdk/alignment.py.

// Return [a, b] of the least-squares similarity z -> a z + b from landmarks to the template; points are complex numbers.
export function similarity(landmarks, template) {
  const mean = points => points.reduce(([x, y], point) => [x + point[0] / 5, y + point[1] / 5], [0, 0]);
  const from = mean(landmarks), to = mean(template);
  let real = 0, imaginary = 0, spread = 0;
  landmarks.forEach((point, k) => {
    const x = point[0] - from[0], y = point[1] - from[1];
    const u = template[k][0] - to[0], v = template[k][1] - to[1];
    real += x * u + y * v;
    imaginary += x * v - y * u;
    spread += x * x + y * y;
  });
  if (!(spread > 0)) throw new Error("all five landmarks of a face are one point; take another picture");
  const a = [real / spread, imaginary / spread];
  return { a, b: [to[0] - a[0] * from[0] + a[1] * from[1], to[1] - a[0] * from[1] - a[1] * from[0]] };
}

// Return the point of the picture that a point of the crop shows.
export function inPicture({ a, b }, x, y) {
  const size = a[0] * a[0] + a[1] * a[1], u = x - b[0], v = y - b[1];
  return [(u * a[0] + v * a[1]) / size, (v * a[0] - u * a[1]) / size];
}

// Cut out an aligned face: bilinear, black outside of the picture.
export function align({ data, width, height }, landmarks, facts) {
  const side = facts.crop_size, transform = similarity(landmarks, facts.template);
  const crop = new Uint8Array(side * side * 3);
  for (let y = 0, to = 0; y < side; y++) {
    for (let x = 0; x < side; x++, to += 3) {
      const [px, py] = inPicture(transform, x, y);
      const left = Math.floor(px), top = Math.floor(py);
      let blue = 0, green = 0, red = 0;
      for (let j = top; j < top + 2; j++) {
        for (let i = left; i < left + 2; i++) {
          if (i < 0 || j < 0 || i >= width || j >= height) continue;
          const weight = (1 - Math.abs(px - i)) * (1 - Math.abs(py - j)), at = (j * width + i) * 3;
          blue += weight * data[at];
          green += weight * data[at + 1];
          red += weight * data[at + 2];
        }
      }
      crop[to] = Math.round(blue);
      crop[to + 1] = Math.round(green);
      crop[to + 2] = Math.round(red);
    }
  }
  return { data: crop, width: side, height: side };
}
