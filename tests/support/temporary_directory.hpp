// A directory that is gone when the test is over.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sapwood::test {

/// Where a sync costs nothing, if there is such a place: for tests of many that are not about
/// disks.
[[nodiscard]] inline std::filesystem::path memory_directory() {
    const std::filesystem::path shared = "/dev/shm";
    std::error_code ignored;
    return std::filesystem::is_directory(shared, ignored) ? shared
                                                          : std::filesystem::temp_directory_path();
}

class temporary_directory {
  public:
    explicit temporary_directory(
        const std::filesystem::path& in = std::filesystem::temp_directory_path()) {
        std::string pattern = (in / "sapwood-test-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) {
            throw std::system_error(errno, std::generic_category(), "mkdtemp " + pattern);
        }
        path_ = pattern;
    }

    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;

    ~temporary_directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    [[nodiscard]] std::string operator/(std::string_view name) const {
        return (path_ / name).string();
    }

  private:
    std::filesystem::path path_;
};

[[nodiscard]] inline std::string contents_of(const std::string& path) {
    // In pieces: byte by byte, without optimization, logs of megabytes took most of a test's time.
    std::ifstream file(path, std::ios::binary);
    std::string contents;
    std::vector<char> piece(1u << 16);
    while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())), file.gcount() > 0) {
        contents.append(piece.data(), static_cast<std::size_t>(file.gcount()));
    }
    return contents;
}

inline void fill(const std::string& path, std::string_view contents) {
    std::ofstream(path, std::ios::binary) << contents;
}

} // namespace sapwood::test
