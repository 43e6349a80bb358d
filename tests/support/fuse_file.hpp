// A file system of one file, `file`, served by a thread of this process (FUSE): what is read and
// written is another file's, and each request may be held up or refused before it is done. It is
// mounted where only this thread and its children see it, and goes with the process, however that
// ends. Needs root and /dev/fuse.
#pragma once

#include "support/temporary_directory.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

namespace sapwood::test {

class fuse_file {
  public:
    struct request {
        enum class kind { look, open, read, write, sync };

        kind is;
        /// Of a write.
        std::string_view bytes;
    };

    /// Asked before a request is done, on the server's thread; may wait. 0, or an errno: the
    /// request is refused with it and not done.
    using gate = std::function<int(const request&)>;

    /// `backing` is a descriptor of the file that has the bytes, which is closed at the end. Null,
    /// with the reason in `why_not`, where such a thing cannot be had here.
    [[nodiscard]] static std::unique_ptr<fuse_file> mount(int backing, gate asked,
                                                          std::string& why_not);

    fuse_file(const fuse_file&) = delete;
    fuse_file& operator=(const fuse_file&) = delete;

    /// Unmounts. Nothing may be waiting in the gate.
    ~fuse_file();

    [[nodiscard]] std::string path() const { return folder_ / "file"; }

  private:
    fuse_file(int backing, gate asked);
    void serve();
    void answer(const char* message);
    void do_write(std::uint64_t unique, const char* body);
    void do_read(std::uint64_t unique, const char* body);
    void reply(std::uint64_t unique, int error, const void* body, std::size_t size) const;

    temporary_directory folder_;
    const int backing_;
    const gate gate_;
    int fuse_ = -1;
    std::thread server_;
};

} // namespace sapwood::test
