// The shared precompiled header of the tests that use Torch.
#pragma once

#include <gtest/gtest.h>

#include "cmake/pch.h"
