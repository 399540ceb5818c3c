// As much of CoreML as custom layers use, for type-checking where there is none.

import Foundation
import Metal

public enum MLMultiArrayDataType { case float32, double, int32, float16 }

public final class MLMultiArray {
    public var dataType: MLMultiArrayDataType { .float32 }
    public var shape: [NSNumber] { [] }
    public var strides: [NSNumber] { [] }
    public var dataPointer: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: 1)! }

    public init(
        dataPointer: UnsafeMutableRawPointer, shape: [NSNumber], dataType: MLMultiArrayDataType, strides: [NSNumber],
        deallocator: ((UnsafeMutableRawPointer) -> Void)?
    ) throws {}
}

public protocol MLCustomLayer {
    init(parameters: [String: Any]) throws
    func setWeightData(_ weights: [Data]) throws
    func outputShapes(forInputShapes inputShapes: [[NSNumber]]) throws -> [[NSNumber]]
    func evaluate(inputs: [MLMultiArray], outputs: [MLMultiArray]) throws
}
