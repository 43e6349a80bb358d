// What tests of log files have in common: a sink used as an output uses it, and its lines.
#pragma once

#include <sapwood/log_sink.hpp>

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::test {

/// Writes a batch as a log's output does. What the sink tells stands before it, as `# text`.
inline task<> put(log_sink& sink, std::string lines, log_sink_requests asked = {}) {
    const log_news news = co_await sink.tend(asked);
    if (news) {
        lines.insert(0, "# " + news.text + "\n");
    }
    if (!lines.empty()) {
        co_await sink.write(lines);
    }
}

/// `number 3` and so on, from `first` to `last`.
inline std::string numbers(int first, int last) {
    std::string text;
    for (int i = first; i <= last; ++i) {
        text += fmt::format("number {}\n", i);
    }
    return text;
}

/// Names of what is in the directory of `path` and begins as it, without it, in order.
inline std::vector<std::string> files_like(const std::string& path) {
    const std::filesystem::path log(path);
    std::vector<std::string> found;
    for (const auto& each : std::filesystem::directory_iterator(log.parent_path())) {
        const std::string name = each.path().filename().string();
        if (name.starts_with(log.filename().string()) && each.path() != log) {
            found.push_back(each.path().string());
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

} // namespace sapwood::test
