// Detection: the network's cells -> faces, at as many scales as the picture needs. As in sdk/detection.
import { resize, roundEven } from "./pixels.js";

// A face is { box: [x, y, width, height], landmarks: five [x, y], confidence }, in pixels.

// Find all faces of a picture. `run` gives the network's cells of a picture: a promise of 15 numbers for each cell.
export async function detect(image, run, facts) {
  const longest = Math.max(image.width, image.height), shortest = Math.min(image.width, image.height);
  const { passes, max_enlargement, small_face } = facts;
  let scale = Math.min(passes[0] / longest, max_enlargement);
  let faces = merge([], await detectAt(image, scale, run, facts), 0, facts);
  if (!faces.length) {  // a face that fills the picture may be too large for the first pass
    const halved = merge([], await detectAt(image, scale / 2, run, facts), 0, facts);
    faces = halved.filter(({ box }) => Math.max(box[2], box[3]) >= facts.fills * shortest);
  }
  for (const side of passes.slice(1)) {
    const reduced = scale < 1 && scale * longest <= passes[0];
    const small = Math.min(...faces.map(({ box }) => box[2])) * scale < small_face;
    if (scale >= max_enlargement || !(reduced || !faces.length || small)) break;
    const finer = Math.min(side / longest, max_enlargement);
    faces = merge(faces, await detectAt(image, finer, run, facts), small_face / scale, facts);
    scale = finer;
  }
  return faces.sort((one, other) => area(other.box) - area(one.box));
}

// Find faces in one pass at a scale.
async function detectAt(image, scale, run, facts) {
  const width = Math.max(1, roundEven(image.width * scale)), height = Math.max(1, roundEven(image.height * scale));
  const cells = await run(resize(image, width, height));
  const rows = suppress(decode(cells, width, height, facts), facts.nms);
  const x = image.width / width, y = image.height / height;
  return rows.map(row => ({
    box: [row[0] * x, row[1] * y, row[2] * x, row[3] * y],
    landmarks: [4, 6, 8, 10, 12].map(k => [row[k] * x, row[k + 1] * y]),
    confidence: row[14],
  }));
}

// Convert the network's output to rows: box, landmarks, confidence. The cells come level by level, row by row.
export function decode(cells, width, height, facts) {
  const { strides } = facts, coarsest = strides[strides.length - 1], rows = [];
  let at = 0;
  for (const stride of strides) {
    const down = Math.ceil(height / coarsest) * coarsest / stride;
    const across = Math.ceil(width / coarsest) * coarsest / stride;
    for (let y = 0; y < down; y++) {
      for (let x = 0; x < across; x++, at += 15) {
        if (!(cells[at] >= facts.min_confidence)) continue;
        const size = [3, 4].map(k => Math.exp(Math.min(cells[at + k], 5)) * stride);
        const centre = [(x + 0.5 + cells[at + 1]) * stride, (y + 0.5 + cells[at + 2]) * stride];
        const row = [centre[0] - size[0] / 2, centre[1] - size[1] / 2, ...size];
        for (let k = 0; k < 10; k++) row.push(centre[k % 2] + cells[at + 5 + k] * size[k % 2]);
        row.push(cells[at]);
        if (row.every(value => Math.abs(value) < facts.farthest) && Math.min(...size) > 1 / facts.farthest) rows.push(row);
      }
    }
  }
  if (at !== cells.length) throw new Error(`the detector gives ${cells.length / 15} cells, wanted ${at / 15}`);
  return rows;
}

// Of boxes that overlap the most confident one, one remains: their mean, weighted by confidence.
export function suppress(rows, most) {
  let left = [...rows].sort((one, other) => other[14] - one[14]);
  const faces = [];
  while (left.length) {
    const best = left[0], same = left.filter((row, k) => k === 0 || overUnion(best, row) > most);
    left = left.filter(row => !same.includes(row));
    const total = same.reduce((sum, row) => sum + row[14], 0);
    const face = best.map((_, k) => same.reduce((sum, row) => sum + row[k] * row[14], 0) / total);
    face[14] = best[14];
    faces.push(face);
  }
  return faces;
}

// Merge two passes: the fine one wins where the coarse one found the face small or with less confidence.
function merge(coarse, fine, small, { overlap }) {
  const isSame = (one, other) => overSmaller(one.box, other.box) > overlap;
  let left = coarse;
  const fresh = [];
  for (const face of fine) {
    const same = left.filter(old => isSame(old, face));
    if (fresh.some(other => isSame(other, face))) continue;
    if (!same.every(old => old.box[2] < small || old.confidence < face.confidence)) continue;
    left = left.filter(old => !same.includes(old));
    fresh.push(face);
  }
  return [...left, ...fresh];
}

const area = box => box[2] * box[3];

function shared(one, other) {
  const width = Math.min(one[0] + one[2], other[0] + other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[1] + one[3], other[1] + other[3]) - Math.max(one[1], other[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

const overUnion = (one, other) => shared(one, other) / Math.max(area(one) + area(other) - shared(one, other), 1e-9);
const overSmaller = (one, other) => shared(one, other) / Math.min(area(one), area(other));
