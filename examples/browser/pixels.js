// Pictures as the SDK has them: { data: Uint8Array of blue, green, red; width; height }.

export function fromRgba({ data, width, height }) {
  const bgr = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < bgr.length; from += 4, to += 3) {
    bgr[to] = data[from + 2];
    bgr[to + 1] = data[from + 1];
    bgr[to + 2] = data[from];
  }
  return { data: bgr, width, height };
}

export function toRgba({ data, width, height }) {
  const rgba = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
    rgba[to] = data[from + 2];
    rgba[to + 1] = data[from + 1];
    rgba[to + 2] = data[from];
  }
  return new ImageData(rgba, width, height);
}

// Halves go to the even neighbour, as in Python, numpy and OpenCV.
export function roundEven(value) {
  const low = Math.floor(value), rest = value - low;
  return rest === 0.5 ? low + (low % 2) : Math.round(value);
}

// Scale a picture: the mean of the covered area when it shrinks (cv2.INTER_AREA), else bilinear (cv2.INTER_LINEAR).
export function resize(image, width, height) {
  if (width === image.width && height === image.height) return image;
  return width <= image.width && height <= image.height ? shrink(image, width, height) : enlarge(image, width, height);
}

function shrink({ data, width, height }, toWidth, toHeight) {
  const columns = areaTaps(width, toWidth), rows = areaTaps(height, toHeight);
  // OpenCV rounds the mean of 2 x 2 pixels half up, and all others half to even.
  const round = toWidth * 2 === width && toHeight * 2 === height ? Math.round : roundEven;
  const result = new Uint8Array(toWidth * toHeight * 3), line = new Float64Array(toWidth * 3);
  rows.forEach((row, y) => {
    line.fill(0);
    row.weights.forEach((share, down) => {
      const start = (row.first + down) * width;
      columns.forEach(({ first, weights }, x) => {
        let blue = 0, green = 0, red = 0;
        for (let k = 0, at = (start + first) * 3; k < weights.length; k++, at += 3) {
          blue += weights[k] * data[at];
          green += weights[k] * data[at + 1];
          red += weights[k] * data[at + 2];
        }
        line[3 * x] += share * blue;
        line[3 * x + 1] += share * green;
        line[3 * x + 2] += share * red;
      });
    });
    // Sums of weights may be off by 1e-16; without the inner rounding a half would go to either side.
    for (let k = 0; k < line.length; k++) result[y * line.length + k] = round(Math.round(line[k] * 1e6) / 1e6);
  });
  return { data: result, width: toWidth, height: toHeight };
}

// For each pixel of the result: the first pixel of the source, and the weights of that one and those after it.
function areaTaps(source, result) {
  const scale = source / result;
  return Array.from({ length: result }, (_, at) => {
    const from = at * scale, to = Math.min(from + scale, source);
    let first = Math.floor(from), last = Math.ceil(to);
    if (first + 1 - from <= 1e-3) first += 1;  // slivers that OpenCV leaves out
    if (to - (last - 1) <= 1e-3) last -= 1;
    const weights = [];
    for (let one = first; one < last; one++) {
      weights.push((Math.min(one + 1, to) - Math.max(one, from)) / (to - from));
    }
    return { first, weights };
  });
}

// With whole numbers, as OpenCV does it: weights of 11 bits, and 15 bits of a row's sums.
function enlarge({ data, width, height }, toWidth, toHeight) {
  const columns = linearTaps(width, toWidth), rows = linearTaps(height, toHeight);
  const result = new Uint8Array(toWidth * toHeight * 3), lines = new Map();
  const line = row => {
    if (!lines.has(row)) {
      const sums = new Int32Array(toWidth * 3);
      columns.forEach(({ first, second, weights }, x) => {
        for (let k = 0; k < 3; k++) {
          const sum = weights[0] * data[(row * width + first) * 3 + k] + weights[1] * data[(row * width + second) * 3 + k];
          sums[3 * x + k] = sum >> 4;
        }
      });
      lines.set(row, sums);
    }
    return lines.get(row);
  };
  rows.forEach(({ first, second, weights }, y) => {
    const upper = line(first), lower = line(second);
    for (let k = 0; k < upper.length; k++) {
      const sum = (weights[0] * upper[k] >> 16) + (weights[1] * lower[k] >> 16);
      result[y * upper.length + k] = sum + 2 >> 2;
    }
    for (const row of lines.keys()) if (row < first) lines.delete(row);
  });
  return { data: result, width: toWidth, height: toHeight };
}

function linearTaps(source, result) {
  return Array.from({ length: result }, (_, at) => {
    const place = Math.fround(Math.min(Math.max((at + 0.5) * (source / result) - 0.5, 0), source - 1));
    const first = Math.floor(place), rest = Math.fround(place - first);
    const weights = [1 - rest, rest].map(share => roundEven(Math.fround(share * 2048)));
    return { first, second: Math.min(first + 1, source - 1), weights };
  });
}
