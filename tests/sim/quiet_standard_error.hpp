// What a log tells people of its disk is not wanted a thousand times: while this lives standard
// error goes nowhere.
#pragma once

#include <fcntl.h>
#include <unistd.h>

namespace sapwood::simulation {

class quiet_standard_error {
  public:
    explicit quiet_standard_error(bool is_wanted)
        : before_(is_wanted ? ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) : -1) {
        const int nowhere = before_ >= 0 ? ::open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
        if (nowhere >= 0) {
            ::dup2(nowhere, STDERR_FILENO);
            ::close(nowhere);
        }
    }

    quiet_standard_error(const quiet_standard_error&) = delete;
    quiet_standard_error& operator=(const quiet_standard_error&) = delete;

    ~quiet_standard_error() {
        if (before_ >= 0) {
            ::dup2(before_, STDERR_FILENO);
            ::close(before_);
        }
    }

  private:
    const int before_;
};

} // namespace sapwood::simulation
