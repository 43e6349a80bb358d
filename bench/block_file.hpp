// A new file written in blocks of 256 KiB with write(2). For one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace bench {

class block_file {
  public:
    // Throws std::system_error, as every other member does.
    explicit block_file(const std::string& path);
    ~block_file();
    block_file(const block_file&) = delete;
    block_file& operator=(const block_file&) = delete;

    // Precondition: no more than a block.
    void append(std::string_view text);

    // Writes what is left. Nothing can be appended afterwards.
    void close();

  private:
    static constexpr std::size_t block_bytes = 256 * 1024;

    void flush();

    int fd_;
    std::unique_ptr<char[]> block_;
    std::size_t used_ = 0;
};

} // namespace bench
