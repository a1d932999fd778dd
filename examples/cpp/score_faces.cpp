// Find and score every face of a picture: score_faces PICTURE DETECTOR.onnx QUALITY.onnx
//
// The files are made once: fiqa-export opencv fiqa-detector; fiqa-export opencv fiqa-nano
// Built with OpenCV alone it runs them in OpenCV DNN; with -DFIQA_ONNXRUNTIME in onnxruntime.
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <exception>
#include <numeric>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#ifdef FIQA_ONNXRUNTIME
#include <onnxruntime_cxx_api.h>
#endif

constexpr int side = 512, crop_side = 112, values = 15;  // the detector's file is made for 512 x 512 pixels
constexpr float least_confidence = 0.7f, most_overlap = 0.3f;
using Row = cv::Vec<float, values>;  // x, y, width, height; x, y of five landmarks; confidence

// Both networks take a float32 BGR picture (1, height, width, 3) with values from 0 to 255, and give float rows.
class Network {
public:
#ifdef FIQA_ONNXRUNTIME
    explicit Network(const char* path) : session(env(), path, Ort::SessionOptions()) {}

    cv::Mat run(const cv::Mat& image) {
        const int64_t shape[] = {1, image.rows, image.cols, 3};
        cv::Mat pixels;
        image.convertTo(pixels, CV_32F);
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        auto input = Ort::Value::CreateTensor<float>(memory, pixels.ptr<float>(), pixels.total() * 3, shape, 4);
        Ort::AllocatorWithDefaultOptions names;
        const auto in = session.GetInputNameAllocated(0, names), out = session.GetOutputNameAllocated(0, names);
        const char *inputs[] = {in.get()}, *outputs[] = {out.get()};
        auto found = session.Run(Ort::RunOptions(), inputs, &input, 1, outputs, 1);
        const auto sizes = found[0].GetTensorTypeAndShapeInfo().GetShape();
        const int columns = int(sizes.back()), count = int(found[0].GetTensorTypeAndShapeInfo().GetElementCount());
        return cv::Mat(count / columns, columns, CV_32F, found[0].GetTensorMutableData<float>()).clone();
    }

private:
    static Ort::Env& env() {
        static Ort::Env one(ORT_LOGGING_LEVEL_WARNING, "fiqa");
        return one;
    }
    Ort::Session session;
#else
    explicit Network(const char* path) : network(cv::dnn::readNetFromONNX(path)) {}

    cv::Mat run(const cv::Mat& image) {
        const int shape[] = {1, image.rows, image.cols, 3};
        cv::Mat pixels;
        image.convertTo(pixels, CV_32F);
        network.setInput(cv::Mat(4, shape, CV_32F, pixels.data));
        const cv::Mat found = network.forward();
        return found.reshape(1, int(found.total()) / found.size[found.dims - 1]).clone();
    }

private:
    cv::dnn::Net network;
#endif
};

float overlap(const Row& a, const Row& b) {
    const cv::Rect2f one(a[0], a[1], a[2], a[3]), other(b[0], b[1], b[2], b[3]);
    const float shared = (one & other).area();
    return shared / std::max(one.area() + other.area() - shared, 1e-9f);
}

// Of boxes that overlap the most confident one, one remains: their mean, weighted by confidence.
std::vector<Row> suppress(std::vector<Row> rows) {
    std::vector<Row> faces;
    std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a[14] > b[14]; });
    while (!rows.empty()) {
        const Row first = rows[0];
        cv::Vec<double, values> sum;
        double weights = 0;
        std::vector<Row> left;
        for (size_t i = 0; i < rows.size(); ++i) {
            if (i > 0 && overlap(first, rows[i]) <= most_overlap) { left.push_back(rows[i]); continue; }
            for (int k = 0; k < values; ++k) sum[k] += double(rows[i][k]) * rows[i][14];
            weights += rows[i][14];
        }
        Row mean;
        for (int k = 0; k < values; ++k) mean[k] = float(sum[k] / weights);
        mean[14] = first[14];
        faces.push_back(mean);
        rows.swap(left);
    }
    return faces;
}

// Scale the picture so that its longest side fits, fill up with black, and decode the cells of the three levels.
std::vector<Row> detect(Network& detector, const cv::Mat& image) {
    const double scale = std::min(double(side) / std::max(image.rows, image.cols), 4.0);
    const auto scaled = [scale](int length) { return std::max(1, int(std::nearbyint(length * scale))); };
    const cv::Size size(scaled(image.cols), scaled(image.rows));
    cv::Mat resized, square = cv::Mat::zeros(side, side, CV_8UC3);
    cv::resize(image, resized, size, 0, 0, scale < 1 ? cv::INTER_AREA : cv::INTER_LINEAR);
    resized.copyTo(square(cv::Rect(cv::Point(), size)));
    const cv::Mat cells = detector.run(square);
    std::vector<Row> rows;
    int index = 0;
    for (const int stride : {8, 16, 32})
        for (int y = 0; y < side / stride; ++y)
            for (int x = 0; x < side / stride; ++x) {
                const float* cell = cells.ptr<float>(index++);
                if (cell[0] < least_confidence) continue;
                Row row;
                for (int k = 0; k < 2; ++k) row[2 + k] = std::exp(std::min(cell[3 + k], 5.0f)) * stride;
                row[0] = (x + 0.5f + cell[1]) * stride - row[2] / 2;
                row[1] = (y + 0.5f + cell[2]) * stride - row[3] / 2;
                for (int k = 0; k < 10; ++k) row[4 + k] = row[k % 2] + row[2 + k % 2] * (0.5f + cell[5 + k]);
                row[14] = cell[0];
                rows.push_back(row);
            }
    rows = suppress(rows);
    for (Row& row : rows)
        for (int k = 0; k < 14; ++k) row[k] *= k % 2 ? float(image.rows) / size.height : float(image.cols) / size.width;
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a[2] * a[3] > b[2] * b[3]; });
    return rows;
}

// Cut out the face by the least-squares similarity from its landmarks to ArcFace's template. With points as complex
// numbers it is z -> a z + b.
cv::Mat align(const cv::Mat& image, const Row& face) {
    using Point = std::complex<double>;
    const Point wanted[] = {
        {38.2946, 51.6963}, {73.5318, 51.5014}, {56.0252, 71.7366}, {41.5493, 92.3655}, {70.7299, 92.2041}};
    Point found[5], found_mean, wanted_mean, product;
    double spread = 0;
    for (int k = 0; k < 5; ++k) {
        found[k] = {face[4 + 2 * k], face[5 + 2 * k]};
        found_mean += found[k] / 5.0;
        wanted_mean += wanted[k] / 5.0;
    }
    for (int k = 0; k < 5; ++k) {
        product += std::conj(found[k] - found_mean) * (wanted[k] - wanted_mean);
        spread += std::norm(found[k] - found_mean);
    }
    const Point a = product / spread, b = wanted_mean - a * found_mean;
    // Bilinear, black outside. Not cv::warpAffine: before OpenCV 5 it rounds to 1/32 pixel, which shifts scores by 1e-3.
    cv::Mat crop(crop_side, crop_side, CV_8UC3);
    for (int y = 0; y < crop_side; ++y)
        for (int x = 0; x < crop_side; ++x) {
            const Point from = (Point(x, y) - b) / a;
            const int left = int(std::floor(from.real())), top = int(std::floor(from.imag()));
            cv::Vec3d sum;
            for (int j = 0; j < 2; ++j)
                for (int i = 0; i < 2; ++i)
                    if (cv::Rect(0, 0, image.cols, image.rows).contains(cv::Point(left + i, top + j)))
                        sum += cv::Vec3d(image.at<cv::Vec3b>(top + j, left + i)) *
                               ((1 - std::abs(from.real() - left - i)) * (1 - std::abs(from.imag() - top - j)));
            crop.at<cv::Vec3b>(y, x) = sum;
        }
    return crop;
}

int main(int count, char** arguments) try {
    if (count != 4) return std::fprintf(stderr, "usage: %s PICTURE DETECTOR.onnx QUALITY.onnx\n", arguments[0]), 1;
    const cv::Mat image = cv::imread(arguments[1]);
    if (image.empty()) return std::fprintf(stderr, "%s is no picture that OpenCV reads\n", arguments[1]), 1;
    Network detector(arguments[2]), quality(arguments[3]);
    for (const Row& face : detect(detector, image))
        std::printf("score %.6f  face at %.2f, %.2f, %.2f x %.2f pixels, detected with %.4f\n",
                    quality.run(align(image, face)).at<float>(0), face[0], face[1], face[2], face[3], face[14]);
    return 0;
} catch (const std::exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
}
