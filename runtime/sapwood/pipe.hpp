// pipe: bytes in order from one end to the other, between tasks or processes. Each end is a file,
// with its reads and writes. Loop thread only.
#pragma once

#include <sapwood/file.hpp>

namespace sapwood {

struct pipe {
    /// Throws std::system_error. Neither end is passed on by exec.
    [[nodiscard]] static pipe make();

    /// Reads 0 when every writer has closed.
    file reader;
    /// EPIPE when every reader has closed.
    file writer;
};

} // namespace sapwood
