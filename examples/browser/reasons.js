// Measures of a face and their reasons, and the quality of a score. As in sdk/measuring and sdk/decision.
import { inPicture, similarity } from "./alignment.js";
import { roundEven } from "./pixels.js";

// The straight line through points, flat beyond the ends (numpy.interp).
export function interpolate(at, xs, ys) {
  if (at <= xs[0]) return ys[0];
  const next = xs.findIndex(x => x > at);
  if (next < 0) return ys[ys.length - 1];
  return ys[next - 1] + (ys[next] - ys[next - 1]) * (at - xs[next - 1]) / (xs[next] - xs[next - 1]);
}

// Return the quality of a score, 0 to 100: the share of comparisons that succeed.
export function quality(score, { scores, rates }) {
  return roundEven(100 * interpolate(score, scores, rates));
}

// Measure a face. `grades` are the outputs of fiqa-reasons for the crop; `image` has width and height.
export function measure(crop, landmarks, image, grades, facts) {
  const values = {};
  facts.outputs.forEach((name, k) => { values[name] = interpolate(grades[k], facts.grades, facts.values[name]); });
  const sharp = facts.outputs.indexOf("resolution");
  values.resolution = Math.exp(interpolate(grades[sharp], facts.grades, facts.values.resolution.map(Math.log)));
  Object.assign(values, light(crop, facts), geometry(landmarks, image, facts));
  values.resolution = Math.min(values.resolution, values.eye_distance);
  return values;
}

// Return what is wrong with a face, the worst first: { code, text }.
export function findReasons(values, { scales, texts }) {
  const found = Object.entries(scales)
    .filter(([name, scale]) => scale.code && name in values)
    .map(([name, scale]) => ({ name, code: scale.code, quality: component(Math.abs(values[name]), scale) }))
    .filter(one => one.quality < 50);
  const beyond = new Set(found.map(one => one.name));
  return found
    .filter(one => !scales[one.name].unless.some(cause => beyond.has(cause)))
    .sort((one, other) => one.quality - other.quality)
    .map(({ code }) => ({ code, text: texts[code] }));
}

// 100 at the best value, 50 at the limit, 0 at the worst, linear between; for sizes in the logarithm.
function component(value, { best, limit, worst, logarithmic }) {
  const [b, l, w, at] = [best, limit, worst, value].map(each => logarithmic ? Math.log(Math.max(each, 1e-6)) : each);
  const within = (at - l) / (b - l);
  return Math.min(Math.max(within >= 0 ? 50 + 50 * within : 50 - 50 * (at - l) / (w - l), 0), 100);
}

function geometry(points, { width, height }, { template, crop_size, nose_height, step }) {
  const degrees = 180 / Math.PI, across = [points[1][0] - points[0][0], points[1][1] - points[0][1]];
  const middle = (one, other) => [0, 1].map(k => (points[one][k] + points[other][k]) / 2);
  const eyes = middle(0, 1), mouth = middle(3, 4), down = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
  const length = down[0] ** 2 + down[1] ** 2;
  const along = (points[2][0] - eyes[0]) * down[0] + (points[2][1] - eyes[1]) * down[1];
  const transform = similarity(points, template);
  let outside = 0, count = 0;
  for (let v = step / 2 - 0.5; v < crop_size; v += step) {
    for (let u = step / 2 - 0.5; u < crop_size; u += step, count++) {
      const [x, y] = inPicture(transform, u, v);
      if (x < -0.5 || y < -0.5 || x > width - 0.5 || y > height - 0.5) outside++;
    }
  }
  return {
    eye_distance: Math.hypot(...across),
    pitch: degrees * Math.atan(2 * (nose_height - (length > 1e-9 ? along / length : nose_height))),
    roll: degrees * Math.atan2(across[1], across[0]),
    outside: 100 * outside / count,
  };
}

// Contrast and uneven light of the face itself, %. Black, as outside of the picture, is left out.
function light({ data, width }, { face_rows, face_columns, least_level }) {
  const grey = [], halves = [{ sum: 0, count: 0 }, { sum: 0, count: 0 }];
  for (let y = face_rows[0]; y < face_rows[1]; y++) {
    for (let x = face_columns[0]; x < face_columns[1]; x++) {
      const at = (y * width + x) * 3;
      if (!data[at] && !data[at + 1] && !data[at + 2]) continue;
      const level = 0.114 * data[at] + 0.587 * data[at + 1] + 0.299 * data[at + 2];
      const half = halves[x < (face_columns[0] + face_columns[1]) / 2 ? 0 : 1];
      half.sum += level;
      half.count++;
      grey.push(level);
    }
  }
  if (grey.length < 100) return { contrast: 0, uneven_light: 0 };
  grey.sort((one, other) => one - other);
  const low = grey[Math.floor(0.05 * grey.length)], high = grey[Math.floor(0.95 * grey.length)];
  const sides = halves.filter(({ count }) => count >= 50).map(({ sum, count }) => sum / count);
  const uneven = sides.length === 2 && Math.max(...sides) > least_level ? 1 - Math.min(...sides) / Math.max(...sides) : 0;
  return { contrast: 100 * (high - low) / Math.max(high + low, least_level), uneven_light: 100 * uneven };
}
