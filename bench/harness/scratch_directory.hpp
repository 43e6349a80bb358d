// A directory for one file at a time, gone with its object. Whatever a writer puts next to its file
// goes, too.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace bench {

class scratch_directory {
  public:
    /// In `parent`; `name` says whose it is. Throws std::system_error.
    scratch_directory(const std::string& parent, const std::string& name)
        : path_{parent + "/" + name + ".XXXXXX"} {
        if (::mkdtemp(path_.data()) == nullptr) {
            throw std::system_error{errno, std::generic_category(), "cannot write to " + parent};
        }
    }

    ~scratch_directory() {
        std::error_code ignored; // There is nobody left to tell.
        std::filesystem::remove_all(path_, ignored);
    }

    scratch_directory(const scratch_directory&) = delete;
    scratch_directory& operator=(const scratch_directory&) = delete;

    [[nodiscard]] std::string file() const { return path_ + "/records.log"; }

  private:
    std::string path_;
};

} // namespace bench
